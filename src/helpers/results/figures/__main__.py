"""`python -m helpers.results.figures`: see `helpers.results.figures.redraw`."""

import sys

from helpers.results.figures.redraw import main

if __name__ == "__main__":
    sys.exit(main())
