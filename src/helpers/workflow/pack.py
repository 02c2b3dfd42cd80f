"""A run as one archive for others: `./run_all.sh pack RUN`, and its check: `./run_all.sh pack --check FILE`

In it are the run's rows, tables, figures and manifests, as text without anything private (`helpers.workflow.redact`,
and whatever looks like a key or a home folder). Not in it: weights, adapters' tensors, images of data sets (third
parties' licences; a figure of the project shows drawn ones at most), executed notebooks, logs. The texts and questions
of a data set of unknown licence, such as a folder of one's own, stay out too; the answers to them are in.

The same run packs to the same bytes. ``SHA256SUMS`` lists each file as `sha256sum --check` reads it; ``pack.json``
says which run it was, what was changed by redaction and what was left out.

The check reads the archive without unpacking it. It recomputes each file's hash, and compares it with the list and with
what the manifests of the notebooks and the sidecars of the figures recorded. So a table changed afterwards is found,
unless its records were forged as well. Exit status: 0 if all is well, 1 if something differs, 2 if there is nothing to
pack or the file is no such archive.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from helpers.paths import RUNS, STEPS, Layout, atomic_write, resolve
from helpers.workflow.provenance import MANIFEST_SUFFIX, licence_in, portable
from helpers.workflow.redact import machine_names, scrub, secrets

SUMS, CONTENTS = "SHA256SUMS", "pack.json"
LARGEST_FILE, LARGEST_PACK = 500_000_000, 4_000_000_000  # bytes, unpacked: a check must not fill the memory
_TEXT = (".csv", ".json", ".jsonl", ".md")
_DRAWN = (".png", ".pdf")  # only in folders of figures
_KEYS = re.compile(r"\b(?:hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16})\b")
_HOMES = re.compile(r"""(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[^/\\\s"',:]+""")  # also those of other machines


class PackError(ValueError):
    """Nothing to pack, or no archive of this kind; the message says what is wrong."""


def pack(run: Path, out: Path) -> dict[str, Any]:
    """Write the archive and return the content of its ``pack.json``. Raises `PackError` for a run without results."""
    files, changed, left_out = dict[str, bytes](), list[str](), dict[str, str]()
    closed = _of_unknown_licence(run)
    for path in _candidates(run):
        name = path.relative_to(run).as_posix()
        if folder := next((folder for folder in closed if path.is_relative_to(folder)), None):
            left_out[folder.relative_to(run).as_posix()] = "the data's licence is unknown"
            continue
        content = path.read_bytes()
        if path.suffix in _DRAWN:
            if any(word.encode() in content for word in [*machine_names(), *secrets()] if len(word) > 4):
                left_out[name] = "it names this machine or its user"
                continue
        elif (cleared := _cleared(content)) != content:
            changed.append(name)
            content = cleared
        files[name] = content
    if not any(name.endswith(".csv") or name.endswith("answers.jsonl") for name in files):
        raise PackError(f"{portable(run)}: no rows and no tables; make the run first, or name another")
    about = {"run": run.name, "files": len(files), "changed": changed, "left_out": left_out}
    sums = "".join(f"{_sha256(content)}  {name}\n" for name, content in files.items())
    files[CONTENTS] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    sums += f"{_sha256(files[CONTENTS])}  {CONTENTS}\n"
    with atomic_write(out) as temporary:
        temporary.write_bytes(_archive(run.name, {**files, SUMS: sums.encode()}))
    return about


def _candidates(run: Path) -> Iterator[Path]:
    """The rows, tables, figures and manifests of a run, sorted."""
    layout = Layout(run)
    places = {step.place.partition("/")[0] for name, step in STEPS.items() if step.place and name != "report"}
    figures = {layout.figures, *run.glob("grids/*/figures")}
    for path in sorted(run.rglob("*")):
        top = path.relative_to(run).parts[0]
        hidden = any(part.startswith(".") for part in path.relative_to(run).parts)
        if hidden or path.is_symlink() or not path.is_file():
            continue
        of_a_notebook = top == "notebooks" and path.name.endswith(MANIFEST_SUFFIX)
        row = path.suffix in _TEXT and top in {*places, layout.results.name, layout.figures.name}
        if of_a_notebook or row or (path.suffix in _DRAWN and any(path.is_relative_to(f) for f in figures)):
            yield path


def _of_unknown_licence(run: Path) -> set[Path]:
    """Folders of texts and questions whose card, in the data set's folder, does not name a licence."""
    layout, closed = Layout(run), set[Path]()
    for folder in sorted(run.glob(str(layout.folder("dataset", domain="*", variant="*").relative_to(run)))):
        if licence_in(folder / "README.md") == "unknown":
            closed |= {folder.parent, layout.folder("data", domain=folder.parent.name, variant="x").parent}
    return closed


def _cleared(content: bytes) -> bytes:
    text = scrub(content.decode("utf-8", "surrogateescape"))
    return _HOMES.sub("~", _KEYS.sub("<key>", text)).encode("utf-8", "surrogateescape")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _archive(top: str, files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files below one folder: sorted, without dates and owners."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(tar.getvalue(), mtime=0)


# ---- the check -------------------------------------------------------------------------------------------------------


def check_pack(file: Path) -> tuple[int, list[str]]:
    """How many recorded hashes were compared, and what differs, one line each.

    Raises `PackError` if the file is no archive of this kind.
    """
    files = _read(file)
    try:
        about = json.loads(files[CONTENTS])
        run, changed = str(about["run"]), set(about["changed"])
        lines_of_sums = (line.split("  ", 1) for line in files.pop(SUMS).decode().splitlines())
        listed = {name: digest for digest, name in lines_of_sums}
        recorded = list(_recorded(files, run))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise PackError(f"{file}: its records cannot be read ({error}); not made by pack, or damaged") from None
    lines = [f"not in {SUMS}: {name}" for name in sorted(files.keys() - listed.keys())]
    for name, digest in listed.items():
        if name not in files:
            lines.append(f"missing: {name}")
        elif _sha256(files[name]) != digest:
            lines.append(f"changed: {name}")
    known = [found for found in recorded if found[0] in files and found[0] not in changed]
    lines += [f"not what {by} recorded: {name}" for name, digest, by in known if _sha256(files[name]) != digest]
    return len(listed) + len(known), lines


def _recorded(files: Mapping[str, bytes], run: str) -> Iterator[tuple[str, str, str]]:
    """What the records in an archive say: name of a file, hash, name of the record; of several, the latest."""
    results: dict[str, tuple[str, str, str]] = {}
    for record, content in files.items():
        read = json.loads(content) if record.endswith(".json") else None
        if not isinstance(read, dict):
            continue
        if record.endswith(MANIFEST_SUFFIX) and read.get("exit") == 0:
            for name, digest in read["outputs"].items():
                inside = name.partition(f"{run}/")[2]
                results[inside] = max(results.get(inside, ("", "", "")), (str(read.get("ended")), digest, record))
        elif "figure" in read:
            for name, digest in read["files"].items():
                yield str(PurePosixPath(record).parent / name), digest, record
    for name, (_, digest, record) in results.items():
        yield name, digest, record


def _read(file: Path) -> dict[str, bytes]:
    """The files of an archive by their names below its one folder."""
    found: dict[str, bytes] = {}
    room = LARGEST_PACK
    try:
        with tarfile.open(file, mode="r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                room -= member.size
                if not member.isfile() or name.is_absolute() or ".." in name.parts or len(name.parts) < 2:
                    raise PackError(f"{file}: {member.name!r} is no plain file below one folder; not made by pack")
                if member.size > LARGEST_FILE or room < 0:
                    raise PackError(f"{file}: {member.name!r} is too large to be checked")
                stream = archive.extractfile(member)
                found["/".join(name.parts[1:])] = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PackError(f"{file}: not an archive that can be read ({error})") from None
    if missing := {SUMS, CONTENTS} - found.keys():
        raise PackError(f"{file}: no {', '.join(sorted(missing))} in it; not made by pack")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Pack a run or check an archive. For the exit status see the top of this file."""
    parser = argparse.ArgumentParser(prog="./run_all.sh pack", description="A run as one archive, or a check of one.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("run", nargs="?", help="a run's folder, or its name in runs/")
    what.add_argument("--check", metavar="FILE", type=Path, help="an archive that somebody packed")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: the run's folder with .tar.gz behind it")
    given = parser.parse_args(arguments)
    try:
        if given.check:
            compared, lines = check_pack(given.check)
            print(*lines, f"{compared} hashes compared, {len(lines)} differences", sep="\n")
            return 1 if lines else 0
        run = RUNS / given.run if (RUNS / given.run).is_dir() else resolve(given.run)
        if not run.is_dir():
            there = ", ".join(sorted(folder.name for folder in RUNS.glob("*/"))) or "none"
            raise PackError(f"no run {given.run}; in runs/ there are: {there}")
        out = given.out or run.parent / f"{run.name}.tar.gz"
        about = pack(run, out)
    except PackError as error:
        print(f"pack: {error}", file=sys.stderr)
        return 2
    for name, why in about["left_out"].items():
        print(f"left out: {name}: {why}")
    if about["changed"]:
        print(f"something private was taken out of {len(about['changed'])} files, e.g. {about['changed'][0]}")
    print(f"{portable(out)}: {about['files']} files, {out.stat().st_size / 1e6:.1f} MB; check it with --check")
    return 0


if __name__ == "__main__":
    sys.exit(main())
