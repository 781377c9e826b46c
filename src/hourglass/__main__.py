"""`python -m hourglass`."""

from hourglass.cli.main import main

main()
