"""`python -m raypeft`."""

from raypeft.cli import main

main()
