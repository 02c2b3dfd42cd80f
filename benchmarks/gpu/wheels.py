"""The packages that a machine with torch, a GPU and no network lacks, as wheels in a folder, small enough to carry.

    python benchmarks/gpu/wheels.py FOLDER [--python 3.12] [--cuda 130] [--tree 40]

They are downloaded with pip. What is not needed is cut out: of bitsandbytes all libraries but one for CUDA and the
CPU's, of lm-evaluation-harness its tasks, of transformers scripts that convert and generate models. Fails if the rest
and the tracked files (``--tree``, in MiB; default: counted) are more than `MOST`.
"""

import argparse
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 64  # MiB
UNUSED = re.compile(r"/models/.*/(modular|convert)_[^/]*\.py$")  # of transformers: what others are generated from
PINNED = (  # as in requirements.txt
    *("transformers", "peft", "bitsandbytes", "pydantic", "pydantic-core", "annotated-types", "charset-normalizer"),
    *("codecarbon", "rapidfuzz"),
)
PEERS = ("trl==1.16.0", "datasets==5.2.0", "liger-kernel==0.8.5", "lm-eval==0.4.13")
NEEDED = (
    "dill<0.4.2",
    "multiprocess<0.70.20",
    "evaluate",
    "more-itertools",
)  # by the peers, and not by torch or pandas
PLATFORMS = ("2_39", "2_34", "2_28", "2_27", "2_24", "2_17", "2_5")


def pinned(name: str) -> str:
    """The package with its version in the project's lock."""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(name)}==[^\s;\\]+", lock, re.MULTILINE)
    if not found:
        raise SystemExit(f"{name} is not in requirements.txt")
    return found[0]


def download(folder: Path, python: str) -> None:
    """Wheels for that Python on Linux, x86-64; nothing of what they need themselves."""
    pip = (sys.executable, "-m", "pip")
    platforms = [word for name in PLATFORMS for word in ("--platform", f"manylinux_{name}_x86_64")]
    kind = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]
    kind += ["--platform", "manylinux2014_x86_64", "--platform", "any"]
    wanted = [*map(pinned, PINNED), *PEERS, *NEEDED]
    subprocess.run([*pip, "download", "--quiet", "--no-deps", *kind, "-d", folder, *wanted], check=True)


def cut(folder: Path, package: str, keeps: Callable[[str], bool]) -> None:
    """Take the files out of a package's wheel that ``keeps`` refuses, and their lines out of its list of files."""
    (wheel,) = folder.glob(f"{package}-*.whl")
    smaller = wheel.with_suffix(".smaller")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for entry in old.infolist():
            if not keeps(entry.filename):
                continue
            content = old.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if keeps(line.partition(",")[0])).encode()
            new.writestr(entry, content)
    smaller.replace(wheel)


def tracked() -> int:
    """Bytes of the files that git tracks."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sum((ROOT / name).stat().st_size for name in names.split("\0") if name)


def main(given: argparse.Namespace) -> None:
    """The folder, and how much it weighs."""
    given.folder.mkdir(parents=True, exist_ok=True)
    download(given.folder, given.python)
    libraries = (f"libbitsandbytes_cuda{given.cuda}.so", "libbitsandbytes_cpu.so")
    cut(given.folder, "bitsandbytes", lambda name: ".so" not in name or name.endswith(libraries))
    cut(given.folder, "lm_eval", lambda name: not name.startswith("lm_eval/tasks/") or name.endswith(".py"))
    cut(given.folder, "transformers", lambda name: not UNUSED.search(name))
    wheels = sum(file.stat().st_size for file in given.folder.iterdir()) / 2**20
    tree = tracked() / 2**20 if given.tree is None else given.tree
    print(f"{wheels:.1f} MiB of wheels, {tree:.1f} MiB of tracked files")
    if wheels + tree > MOST:
        raise SystemExit(f"together {wheels + tree:.1f} MiB, more than {MOST}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--cuda", default="130", help="of that machine's torch, without the dot")
    parser.add_argument("--tree", type=float, help="MiB of the files that travel with them; default: those tracked")
    main(parser.parse_args())
