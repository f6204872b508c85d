"""`python -m safeft`."""

from safeft.cli import main

main()
