"""`python -m helpers.report RUN`: make a run's report and say where it is."""

import argparse
import sys

from helpers.paths import resolve
from helpers.provenance import portable
from helpers.report.page import build


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 made, 1 there is nothing to report."""
    parser = argparse.ArgumentParser(prog="python -m helpers.report", description="Make the report of a run.")
    parser.add_argument("run", nargs="?", default="runs/demo", help="default: %(default)s")
    try:
        page = build(resolve(parser.parse_args(arguments).run))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(portable(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
