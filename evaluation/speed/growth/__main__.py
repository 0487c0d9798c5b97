"""`python -m evaluation.speed.growth`: print the table, see `table`."""

from evaluation.speed.growth.table import main

if __name__ == "__main__":
    main()
