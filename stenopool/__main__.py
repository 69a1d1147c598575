"""`python -P -m stenopool`: the command line, also where no script is installed."""

from stenopool.cli import main

if __name__ == "__main__":
    main()
