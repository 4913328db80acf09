"""``python -m pathpatch.cli``."""

from pathpatch.cli import main

main()
