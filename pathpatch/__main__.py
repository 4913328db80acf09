"""``python -m pathpatch``: the command line, where its script is not on the path."""

from pathpatch.cli import main

if __name__ == "__main__":
    main()
