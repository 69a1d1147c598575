"""The page that people use in a browser: plain modules and a style sheet, served from `static/`."""
