"""`python -m checker.cli` is the command `phigate`."""

from checker.cli import main

if __name__ == "__main__":
    main()
