"""`python -m counterflow`."""

from counterflow.cli import main

main()
