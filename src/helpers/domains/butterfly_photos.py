"""Photographs of the paper's hundred butterflies and moths from Wikimedia Commons, with licences and attributions.

    ./run_all.sh fetch butterflies --dry-run
    ./run_all.sh fetch butterflies -- --user-agent 'my-study/1.0 (me@example.org)'

The scientific name is searched for, since common names mean other things too (a peacock, a monarch). One request per
second, and only licences that allow changes and passing on (`helpers.domains.commons`).
"""

import argparse
from collections.abc import Sequence

from helpers.domains.commons import ATTRIBUTION, LICENCES, Manners, fetch_several, read_attribution
from helpers.paths import DATA, resolve_output
from helpers.rows import read_csv_rows
from helpers.workflow.progress import duration

FOLDER = "data/photographs/butterflies"
_BYTES = 300_000  # of an image 960 pixels wide, on average


def searched() -> dict[str, str]:
    """What to search for, by the class's name."""
    return {row["name"]: f'"{row["scientific_name"]}"' for row in read_csv_rows(DATA / "butterflies.csv")}


def fetch_plan(folder: str, each: int) -> str:
    """What a run would ask for and write, without asking anything."""
    wanted, there = searched(), len(read_attribution(resolve_output(folder)))
    lacking = max(0, each * len(wanted) - there)
    requests = len(wanted) + lacking
    return (
        f"{len(wanted)} classes, {each} each, {there} in {folder} already: up to {lacking}, "
        f"about {lacking * _BYTES / 1e6:.0f} MB, in about {requests} requests to commons.wikimedia.org, in "
        f"{duration(requests)} at one per second\n"
        f"Licences: {', '.join(LICENCES)}; authors and licences go into {folder}/{ATTRIBUTION}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch photographs of the hundred classes, or say what would be fetched."""
    parser = argparse.ArgumentParser(prog="./run_all.sh fetch butterflies --", description=main.__doc__)
    parser.add_argument("--folder", default=FOLDER, help=f"where the photographs go (default {FOLDER})")
    parser.add_argument("--each", type=int, default=10, help="photographs per class (default 10)")
    parser.add_argument("--user-agent", help="who you are, with an e-mail address or a web page; Wikimedia asks for it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched, and ask nothing")
    given = parser.parse_args(arguments)
    if given.each < 1:
        parser.error(f"--each is {given.each}; at least 1 photograph per class")
    print(fetch_plan(given.folder, given.each))
    if given.dry_run:
        return
    if not given.user_agent:
        parser.error("--user-agent is missing: who you are, such as 'my-study/1.0 (me@example.org)'")
    manners = Manners(user_agent=given.user_agent, candidates=min(50, 3 * given.each))
    found = fetch_several(searched(), given.each, resolve_output(given.folder), manners)
    print(f"{len(found.images)} photographs in {given.folder}; fewer than {given.each} of {len(found.missing)} classes")
    for name, reason in found.missing.items():
        print(f"  {name}: {reason[:300]}")


if __name__ == "__main__":
    main()
