"""`python -m vaeflow` is the command `vaeflow`."""

from vaeflow.cli import main

main()
