"""`python -m counterflow.cli`."""

from counterflow.cli import main

main()
