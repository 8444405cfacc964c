"""`python -m tierline`."""

from tierline.cli.main import main

main()
