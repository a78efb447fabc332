"""`python -m lamina.cli` is `lamina`."""

from lamina.cli.main import main

if __name__ == "__main__":
    main()
