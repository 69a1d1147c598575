"""The page: what people use in a browser. Plain modules and a style sheet, served as they lie in `static/`."""
