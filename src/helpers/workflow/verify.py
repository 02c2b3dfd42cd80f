"""Do the results still match their inputs? `python -m helpers.workflow.verify [runs/demo] [figures/demo]`

Manifests (of executed notebooks) and sidecars (of figures) hold hashes of inputs, code and results. This module
computes them again and gives each result a status. ok; stale, with the reasons; unrecorded: put into a run by something
other than the workflow; not checkable: its inputs are not in this clone. Exit status: 0 if nothing is stale or
unrecorded, 1 if something is, 2 if there was nothing to check.

`--quick` hashes only files whose size, times or inode have changed since they were last hashed, and prints one line per
fault. `--stale` prints the executed copies of stale results, for Snakemake's `--forcerun`. Snakemake cannot find them
itself: a result older than what was made from it, such as a restored backup, looks finished to it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from helpers.paths import MAIN, PROFILES, ROOT, atomic_write, resolve
from helpers.workflow import provenance

Status = Literal["ok", "stale", "unrecorded", "not checkable"]
DEFAULT = ("runs/demo", "figures/demo")
HASHES = ".hashes.json"  # in a run's folder: the hashes that `--quick` knows
_RESULTS = {".csv", ".json", ".jsonl", ".parquet", ".safetensors"}  # images are too many, and tables name each
_UNWATCHED = {"notebooks", "logs", "report", "features", "playground", "checkpoints"}  # records, caches, scratch files
_COLLECTIONS = ("ablations", "findings")  # of grids: folders of published figures, and words of run_all.sh
_FAULTS: tuple[Status, ...] = ("stale", "unrecorded")


@dataclass(frozen=True)
class Finding:
    """The status of one manifest, one sidecar or one folder of unrecorded files; ``reasons``: why it is not ok."""

    source: str  # the manifest, sidecar or folder, relative to the root
    what: str  # the notebook or the figure
    status: Status
    reasons: tuple[str, ...]
    makes: tuple[str, ...] = field(default=(), repr=False)  # the files that it covers
    needs: tuple[str, ...] = field(default=(), repr=False)  # the files and folders they were made from
    executed: tuple[str, ...] = field(default=(), repr=False)  # the executed copy, for a manifest
    replaced: tuple[str, ...] = field(default=(), repr=False)  # results that are there, but no longer as they were made
    main: bool = True  # made by the profile itself, not by a grid


@dataclass(frozen=True)
class Doubt:
    """Why a file cannot be relied on: it, or something that it was made from, is stale or unrecorded."""

    status: Literal["stale", "unrecorded"]
    reasons: tuple[str, ...]


class Verified:
    """The findings below some folders, and which files can be relied on."""

    def __init__(self, findings: Iterable[Finding], by_hand: bool) -> None:
        self.findings = tuple(findings)
        self.by_hand = by_hand  # the workflow ran no notebook, so nothing is recorded
        self._makers: dict[str, list[Finding]] = {}
        for finding in self.findings:
            for name in finding.makes:
                self._makers.setdefault(name, []).append(finding)
        self._doubts: dict[str, Mapping[str, None]] = {}

    @property
    def faults(self) -> list[Finding]:
        """What is stale or unrecorded."""
        return [finding for finding in self.findings if finding.status in _FAULTS]

    def doubt(self, *files: str | Path) -> Doubt | None:
        """Why some files cannot be relied on, with faults anywhere in the chain of what they were made from.

        A published figure can be relied on if only its code has changed: its numbers are still those of its runs.
        """
        reasons = [reason for file in files for reason in self._reasons(_name(resolve(file)))]
        if not reasons:
            return None
        unrecorded = all(reason.startswith(_NO_RECORD) for reason in reasons)
        return Doubt("unrecorded" if unrecorded else "stale", tuple(dict.fromkeys(reasons)))

    def _reasons(self, name: str) -> Mapping[str, None]:
        """The reasons against a file or folder, each once; those from farther up the chain come last."""
        if name not in self._doubts:
            self._doubts[name] = {}  # a cycle ends here
            found: dict[str, None] = {}
            for maker in self._makers.get(name, ()):
                found |= dict.fromkeys(reason for reason in maker.reasons if _concerns(reason, name, maker))
                for needed in maker.needs:
                    found |= self._reasons(needed)
            if name not in self._makers:
                for inside in self._makers:
                    if inside.startswith(f"{name}/"):
                        found |= self._reasons(inside)
            self._doubts[name] = found
        return self._doubts[name]


_NO_RECORD = "no record of"


def _concerns(reason: str, name: str, maker: Finding) -> bool:
    """Whether a maker's reason casts doubt on this file: one changed result says nothing about the others."""
    kind, _, about = reason.partition(": ")
    if maker.status == "not checkable" or (
        kind.startswith("code") and not maker.source.endswith(provenance.MANIFEST_SUFFIX)
    ):
        return False
    return about == name if kind.startswith(("result", "file", _NO_RECORD)) else True


def verify(folders: Iterable[str | Path], hash_of: Callable[[Path], str] = provenance.sha256) -> Verified:
    """Check every manifest and sidecar below the folders, sorted by path, except copies in a report.

    During a run of the workflow, the run's own manifest is left out as well: it is still that of the previous run.
    ``hash_of``: hashes a file.
    """
    tops = [*map(resolve, folders)]
    listed = {(file, file.relative_to(top)) for top in tops for file in top.rglob("*.json")}
    own = provenance.manifest_in_progress()
    files = sorted(file for file, inside in listed if "report" not in inside.parts and _name(file) != own)
    manifests = {
        file: read for file in files if file.name.endswith(provenance.MANIFEST_SUFFIX) and (read := _read(file))
    }
    sidecars = {file: read for file in files if file not in manifests and "figure" in (read := _read(file))}
    manifests = {file: content for file, content in manifests.items() if content.get("exit") == 0}
    check = _Check(hash_of)
    by_end = sorted(manifests.items(), key=lambda item: str(item[1].get("ended")))
    owners = {result: file for file, content in by_end for result in content.get("outputs", {})}  # the last run's
    findings = [check.run(file, content, owners) for file, content in manifests.items()]
    findings += [check.figure(file, content) for file, content in sidecars.items()]
    if manifests:
        recorded = {*map(_name, sidecars), *(name for finding in findings for name in finding.makes)}
        findings += [found for top in tops for found in _unrecorded(top, recorded)]
    return Verified(findings, by_hand=not manifests)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _unrecorded(top: Path, recorded: Set[str]) -> Iterator[Finding]:
    """Result files in the folders of a run that no manifest or sidecar names, one finding per folder."""
    if top.is_relative_to(ROOT / "figures"):
        return
    by_folder: dict[str, list[str]] = {}
    for file in sorted(top.rglob("*")):
        inside = file.relative_to(top)
        watched = len(inside.parts) > 1 and not _UNWATCHED & set(inside.parts) and file.suffix in _RESULTS
        known = provenance.is_bookkeeping(file) or _name(file) in recorded
        if watched and not known and file.is_file():
            by_folder.setdefault(_name(file.parent), []).append(_name(file))
    for folder, names in by_folder.items():
        reasons = tuple(f"{_NO_RECORD}: {name}" for name in names)
        yield Finding(folder, "made outside the workflow", "unrecorded", reasons, makes=tuple(names))


class _Check:
    """Compares records with the current files. Many records name the same inputs, so each hash is computed once."""

    def __init__(self, hash_of: Callable[[Path], str]) -> None:
        self._hash_of, self._known = hash_of, dict[str, str | None]()

    def run(self, file: Path, content: Mapping[str, Any], owners: Mapping[str, Path]) -> Finding:
        results = {name: digest for name, digest in content.get("outputs", {}).items() if owners[name] == file}
        reasons = [
            *self._differences(content.get("executed", {}), "executed copy"),
            *self._differences(results, "result"),
            *self._differences(content.get("inputs", {}), "input"),
            *self._differences(content.get("code", {}), "code"),
        ]
        given = content.get("parameters") or {}
        return Finding(
            _name(file),
            str(content.get("notebook")),
            "stale" if reasons else "ok",
            tuple(reasons),
            makes=tuple(results),
            needs=tuple(content.get("inputs", {})),
            executed=tuple(content.get("executed", {})),
            replaced=tuple(name for name, digest in results.items() if self._hash_now(name) not in (None, digest)),
            main=given.get("variant", MAIN) == MAIN and "grid_name" not in given,
        )

    def figure(self, file: Path, content: Mapping[str, Any]) -> Finding:
        beside = {_name(file.parent / name): digest for name, digest in content.get("files", {}).items()}
        inputs = content.get("inputs", {})
        gone = _not_of_this_clone(file, inputs)
        reasons = [
            *self._differences(beside, "file"),
            *self._differences(content.get("code", {}), "code"),
            *self._differences({name: digest for name, digest in inputs.items() if name not in gone}, "input"),
        ]
        status: Status = "stale" if reasons else "not checkable" if gone else "ok"
        if not reasons and gone:
            lacking = sorted(name for name in gone if not (ROOT / name).exists())
            reasons = [f"made from runs that are not in this clone: no {lacking[0]}"]
        made_from = tuple(name for name in inputs if name not in gone)
        return Finding(_name(file), content["figure"], status, tuple(reasons), makes=tuple(beside), needs=made_from)

    def _differences(self, recorded: Mapping[str, str], kind: str) -> Iterator[str]:
        """What is missing or has changed, one line each."""
        for name, digest in recorded.items():
            now = self._hash_now(name)
            if now is None:
                yield f"{kind} missing: {name}"
            elif now != digest:
                yield f"{kind} changed: {name}"

    def _hash_now(self, name: str) -> str | None:
        """The current hash of a file or folder; None if there is none."""
        if name not in self._known:
            path = (ROOT / Path(name).expanduser()).resolve()
            whole = provenance.sha256(path, self._hash_of) if path.is_dir() else None
            self._known[name] = whole or (self._hash_of(path) if path.exists() else None)
        return self._known[name]


def _not_of_this_clone(figure: Path, inputs: Iterable[str]) -> set[str]:
    """Inputs of a figure that this clone never had, since runs are not committed.

    If a published figure lacks some inputs (a figure of three seeds where one has been run), it was made from other
    runs. Then even a file with the name of one of its inputs is a different file.
    """
    of_runs = {name for name in inputs if Path(name).parts[:1] == ("runs",)}
    published = not _name(figure).startswith("runs/")
    if published and not all((ROOT / name).exists() for name in of_runs):
        return of_runs
    return {name for name in of_runs if not ROOT.joinpath(*Path(name).parts[:2]).is_dir()}


def _name(path: Path) -> str:
    return str(provenance.portable(path))


# ---- the quick way ---------------------------------------------------------------------------------------------------


class KnownHashes:
    """Hashes of files as last computed, trusted as long as a file's size, times and inode stay the same.

    One of the times is that of the last change of the inode, which no program can set. So an older file put in the
    place of a newer one is noticed, whatever its date.
    """

    def __init__(self, run: str | Path) -> None:
        self._file = resolve(run) / HASHES
        self._before, self._now = _read(self._file), dict[str, list[Any]]()

    def __call__(self, path: Path) -> str:
        found, name = path.stat(), _name(path)
        state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        *known, digest = self._before.get(name) or [None]
        if known != state:
            digest = provenance.sha256(path)
        self._now[name] = [*state, digest]
        return str(digest)

    def write(self) -> None:
        """Save the hashes of the files that were asked for, if any have changed."""
        if self._now != self._before:
            with atomic_write(self._file) as temporary:
                temporary.write_text(json.dumps(self._now), encoding="utf-8")


def verify_quickly(run: str | Path) -> Verified:
    """Like `verify` for one run, but fast if little has changed since the last time."""
    known = KnownHashes(run)
    found = verify([run], known)
    if found.findings:
        known.write()
    return found


# ---- words -----------------------------------------------------------------------------------------------------------


def remedy(found: Verified, folder: str | Path) -> list[str]:
    """What to do about stale and unrecorded results below a run's folder, one sentence each; empty without any."""
    stale = [finding for finding in found.faults if finding.status == "stale"]
    advice = [f"To rebuild what is stale: {_rebuild_command(resolve(folder), stale)}."] if stale else []
    if len(stale) < len(found.faults):
        advice.append(
            "Move what is unrecorded to a folder of its own, such as runs/lab, or delete it; "
            "the workflow then rebuilds whatever belongs to the run."
        )
    return advice


def _rebuild_command(folder: Path, stale: Iterable[Finding]) -> str:
    """The commands that rebuild stale results in a run's folder or among published figures."""
    if not (PROFILES / f"{folder.name}.yaml").is_file():
        return "the command that made it"
    profile = "" if folder.name == "demo" else f" --profile {folder.name}"
    stale = list(stale)
    if folder.is_relative_to(ROOT / "figures"):
        places = {Path(finding.source).parent.name for finding in stale}
        words = {word: "publish_grids" for word in _COLLECTIONS if word in places}
        words = ({} if places <= {*_COLLECTIONS} else {"publish": "publish"}) | words
    else:
        beyond = any(not finding.main or "12_baselines" in finding.what for finding in stale)
        copies = f"$(python -m helpers.workflow.verify {_name(folder)} --stale)"
        words = dict.fromkeys(["demo", *(_COLLECTIONS if beyond else [])], copies)  # a run may be of either
    commands = (f"`./run_all.sh {word}{profile} -- --forcerun {forced}`" for word, forced in words.items())
    return ", then ".join(commands) + ", with the same settings (--set) as before"


def stale_copies(found: Verified, folders: Iterable[str | Path]) -> list[str]:
    """The executed copies of stale results below the folders: each is an output of the job that rebuilds it."""
    tops = [*map(resolve, folders)]
    names = [name for finding in found.faults if finding.status == "stale" for name in finding.executed]
    return [name for name in dict.fromkeys(names) if any((ROOT / name).resolve().is_relative_to(top) for top in tops)]


def report(findings: Iterable[Finding]) -> str:
    """The findings as lines, stale ones first, with every reason."""
    order = ("stale", "unrecorded", "not checkable", "ok")
    lines = []
    for finding in sorted(findings, key=lambda found: order.index(found.status)):
        lines.append(f"{finding.status}: {finding.what} ({finding.source})")
        lines += [f"    {reason}" for reason in finding.reasons]
    return "\n".join(lines)


def in_a_line(finding: Finding) -> str:
    """A finding with its first reason, and the number of further reasons."""
    more = f" and {len(finding.reasons) - 1} more" if len(finding.reasons) > 1 else ""
    return f"{finding.status}: {finding.what} ({finding.source}): {finding.reasons[0]}{more}"


def counted(found: Verified) -> str:
    """How many results have which status."""
    states: tuple[Status, ...] = ("ok", "stale", "unrecorded", "not checkable")
    counts = {state: sum(finding.status == state for finding in found.findings) for state in states}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count or state in ("ok", "stale"))


def main(arguments: list[str] | None = None) -> int:
    """Print the findings. For the exit status see the top of this file."""
    given = _options(arguments)
    found = verify_quickly(given.folders[0]) if given.quick else verify(given.folders)
    if not found.findings:
        print(f"nothing to check below {', '.join(given.folders)}: no manifest and no sidecar", file=sys.stderr)
        return 2
    if given.stale:
        print(*stale_copies(found, given.folders), sep="\n")
        return 1 if found.faults else 0
    shown = [finding for finding in found.findings if not given.quiet or finding.status != "ok"]
    if given.quick:
        print(*map(in_a_line, found.faults), sep="\n", end="\n" if found.faults else "")
    elif shown:
        print(report(shown))
    print(counted(found))
    for folder in given.folders if found.faults else ():
        top = _name(resolve(folder))
        here = [finding for finding in found.findings if f"{finding.source}/".startswith(f"{top}/")]
        print(*remedy(Verified(here, found.by_hand), folder), sep="\n", end="\n")
    return 1 if found.faults else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.verify", description="Check results against their records."
    )
    parser.add_argument("folders", nargs="*", default=list(DEFAULT), help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="leave out what is ok")
    parser.add_argument("--quick", action="store_true", help="one run: hash only changed files; one line per fault")
    parser.add_argument("--stale", action="store_true", help="print only the executed copies of stale results")
    given = parser.parse_args(arguments)
    if given.quick and len(given.folders) > 1:
        parser.error(f"--quick takes one run's folder, not {len(given.folders)}, as in: --quick runs/demo")
    return given


if __name__ == "__main__":
    sys.exit(main())
