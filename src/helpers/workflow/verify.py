"""Are the results still those of the files that they name? `python -m helpers.workflow.verify [runs/demo] [figures/demo]`

Manifests (of executed notebooks) and sidecars (of figures) hold hashes of inputs, code and results. This computes them
again and says of each result: ok; stale, and why; or not checkable here, since its inputs are not in this clone. Exit
status: 0 where nothing is stale, 1 where something is, 2 where nothing was found to check.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from helpers.paths import ROOT, resolve
from helpers.workflow import provenance

Status = Literal["ok", "stale", "not checkable"]
DEFAULT = ("runs/demo", "figures/demo")


@dataclass(frozen=True)
class Finding:
    """What was found of one manifest or sidecar; ``reasons`` is empty where all is well."""

    source: str  # the manifest or sidecar, relative to the root
    what: str  # the notebook or the figure
    status: Status
    reasons: tuple[str, ...]


def verify(folders: Iterable[str | Path]) -> list[Finding]:
    """Check every manifest and sidecar below the folders, in the order of their paths; a report's copies left out.

    Within a run of the workflow its own manifest is left out too: it still is that of the run which this one replaces.
    """
    current_hash.cache_clear()
    found = {(file, file.relative_to(top)) for top in map(resolve, folders) for file in top.rglob("*.json")}
    own = provenance.manifest_in_progress()
    files = sorted(file for file, inside in found if "report" not in inside.parts and _name(file) != own)
    manifests = {
        file: read for file in files if file.name.endswith(provenance.MANIFEST_SUFFIX) and (read := _read(file))
    }
    sidecars = {file: read for file in files if file not in manifests and "figure" in (read := _read(file))}
    owners = _latest(manifests)
    runs = [_check_run(file, content, owners) for file, content in manifests.items() if content.get("exit") == 0]
    return runs + [_check_figure(file, content) for file, content in sidecars.items()]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _latest(manifests: Mapping[Path, Mapping[str, Any]]) -> dict[str, Path]:
    """Which manifest speaks for a result: of several that claim it, the run that ended last."""
    by_end = sorted(manifests.items(), key=lambda item: str(item[1].get("ended")))
    return {result: file for file, content in by_end for result in content.get("outputs", {})}


def _check_run(file: Path, content: Mapping[str, Any], owners: Mapping[str, Path]) -> Finding:
    results = {name: digest for name, digest in content.get("outputs", {}).items() if owners[name] == file}
    reasons = [
        *_differences(content.get("executed", {}), "executed copy"),
        *_differences(results, "result"),
        *_differences(content.get("inputs", {}), "input"),
        *_differences(content.get("code", {}), "code"),
    ]
    return Finding(_name(file), str(content.get("notebook")), "stale" if reasons else "ok", tuple(reasons))


def _check_figure(file: Path, content: Mapping[str, Any]) -> Finding:
    beside = {_name(file.parent / name): digest for name, digest in content.get("files", {}).items()}
    reasons = [*_differences(beside, "file"), *_differences(content.get("code", {}), "code")]
    inputs = content.get("inputs", {})
    gone = _not_of_this_clone(file, inputs)
    reasons += _differences({name: digest for name, digest in inputs.items() if name not in gone}, "input")
    if reasons:
        return Finding(_name(file), content["figure"], "stale", tuple(reasons))
    lacking = sorted(name for name in gone if not resolve(name).exists())
    said = (f"it was made from runs that are not in this clone: no {lacking[0]}",) if gone else ()
    return Finding(_name(file), content["figure"], "not checkable" if gone else "ok", said)


def _differences(recorded: Mapping[str, str], kind: str) -> Iterator[str]:
    """What is missing or has changed, in words."""
    for name, digest in recorded.items():
        now = current_hash(name)
        if now is None:
            yield f"{kind} missing: {name}"
        elif now != digest:
            yield f"{kind} changed: {name}"


@cache
def current_hash(name: str) -> str | None:
    """Hash of a file or folder as it is now; None where there is none. Many figures name the same inputs."""
    path = resolve(name)
    return provenance.sha256(path) if path.exists() else None


def _not_of_this_clone(figure: Path, inputs: Iterable[str]) -> set[str]:
    """Inputs of a figure that this clone never had: runs are not committed.

    A published figure that lacks some inputs, as that of three seeds does where one has been run, was made from other
    runs than are here: also where a file has the name of one of its inputs, it is another.
    """
    of_runs = {name for name in inputs if Path(name).parts[:1] == ("runs",)}
    published = not _name(figure).startswith("runs/")
    if published and not all(resolve(name).exists() for name in of_runs):
        return of_runs
    return {name for name in of_runs if not ROOT.joinpath(*Path(name).parts[:2]).is_dir()}


def _name(path: Path) -> str:
    return str(provenance.portable(path))


def report(findings: Iterable[Finding]) -> str:
    """The findings as lines: what is stale first, with every reason."""
    order = {"stale": 0, "not checkable": 1, "ok": 2}
    lines = []
    for finding in sorted(findings, key=lambda found: order[found.status]):
        lines.append(f"{finding.status}: {finding.what} ({finding.source})")
        lines += [f"    {reason}" for reason in finding.reasons]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; the exit status is said at the top of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.verify", description="Check results against their records."
    )
    parser.add_argument("folders", nargs="*", default=list(DEFAULT), help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="leave out what is in order")
    given = parser.parse_args(arguments)
    findings = verify(given.folders)
    if not findings:
        print(f"nothing to check below {', '.join(given.folders)}: no manifest and no sidecar", file=sys.stderr)
        return 2
    shown = [finding for finding in findings if not given.quiet or finding.status != "ok"]
    if shown:
        print(report(shown))
    counts = {status: sum(found.status == status for found in findings) for status in ("ok", "stale", "not checkable")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts["stale"] else 0


if __name__ == "__main__":
    sys.exit(main())
