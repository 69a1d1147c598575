"""`python -P -m stenopool`: the command line, for environments without the `stenopool` script."""

from stenopool.cli import main

if __name__ == "__main__":
    main()
