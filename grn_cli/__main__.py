"""`python -m grn_cli` is the `grn` command."""

from grn_cli.app import main

if __name__ == "__main__":
    main()
