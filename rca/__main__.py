"""`python -m rca`: the command line, for launchers that start modules."""

from rca.cli import main

if __name__ == "__main__":
    main()
