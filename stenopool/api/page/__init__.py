"""The page for people: plain modules and a style sheet, served from `static/`."""
