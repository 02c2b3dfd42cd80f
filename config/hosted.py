"""Set this project up on a machine that is somebody else's, such as Colab, Kaggle or a JupyterHub.

In a notebook's first cell, after the clone: ``%run config/hosted.py`` (docs/notebooks.md has the cell). Everything that
is installed there stays as it is, torch above all, which was built for the machine's GPU: all of it goes to pip as
constraints. What is missing is added, at the pins of requirements.in or, where these do not fit, as pip finds it. In
the end notebook 00 is run, small. This script needs the standard library only.

``%run config/hosted.py --renew transformers peft`` brings older packages to their pins; torch cannot be named.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
# What the notebooks do not need in a kernel that is running already; and all that stands below "# checks"
LEFT_OUT = {"jupyterlab", "snakemake", "snakemake-interface-logger-plugins", "setuptools"}
UNTOUCHED = {"torch"}
SMOKE = ("notebooks/00_start_here.ipynb", "runs/lab/hosted/00_start_here.ipynb")
FEWER = '{"steps": 2, "output_dir": "runs/lab/hosted"}'


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Name to version, from the lines of requirements.in that the notebooks need."""
    lines = (line.partition("#")[0].strip() for line in text.partition("\n# checks")[0].splitlines())
    found = (line.split("==") for line in lines if line)
    return {canonical(name): version for name, version in found if canonical(name) not in LEFT_OUT}


def installed() -> dict[str, str]:
    """Name to version of every package that this Python finds."""
    return {canonical(one.metadata["Name"]): one.version for one in distributions() if one.metadata["Name"]}


def constraints(present: Mapping[str, str], renewed: Sequence[str] = ()) -> list[str]:
    """Lines that let pip install nothing but what is there, except for the renewed packages.

    A version that pip could not read, as some systems give their own packages, is left out.
    """
    readable = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
    return [
        f"{name}=={version}"
        for name, version in sorted(present.items())
        if name not in renewed and readable.fullmatch(version)
    ]


def install(wanted: Mapping[str, str], present: Mapping[str, str], renewed: Sequence[str]) -> None:
    """Install what is wanted. Raises ``SystemExit`` with pip's last lines if neither pins nor other versions fit."""
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder) / "constraints.txt"
        limits.write_text("\n".join(constraints(present, renewed)) + "\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--constraint", str(limits)]
        for packages in ([f"{name}=={version}" for name, version in wanted.items()], list(wanted)):
            done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            print("the pins do not fit what is installed here; trying other versions")
    raise SystemExit("pip could not add what is missing:\n" + "\n".join(done.stderr.splitlines()[-12:]))


def smoke() -> bool:
    """Run notebook 00 with two steps, in a kernel of its own; returns whether it came to its end."""
    command = [sys.executable, "-m", "helpers.workflow.execute", *SMOKE, "--parameters", FEWER]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Add what is missing, let this kernel find `helpers`, run the smoke."""
    parser = argparse.ArgumentParser(prog="config/hosted.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--renew", nargs="+", default=[], metavar="PACKAGE", help="bring these to their pins, too")
    renewed = [canonical(name) for name in parser.parse_args(arguments).renew]
    needed, before = pins((ROOT / "requirements.in").read_text(encoding="utf-8")), installed()
    if missing := UNTOUCHED - before.keys():
        raise SystemExit(f"no {', '.join(missing)} here: on a machine of your own, ./run_all.sh sets everything up")
    if wrong := [name for name in renewed if name in UNTOUCHED or name not in needed]:
        raise SystemExit(f"--renew takes packages of requirements.in, and never torch; not {', '.join(wrong)}")
    wanted = {name: version for name, version in needed.items() if name not in before or name in renewed}
    if wanted:
        print(f"adding {', '.join(wanted)}", flush=True)
        install(wanted, before, renewed)
    importlib.invalidate_caches()
    after = installed()
    if changed := [name for name in before if after.get(name) != before[name] and name not in renewed]:
        raise SystemExit(f"pip has changed {', '.join(changed)}, against its constraints: start a new session")
    print(f"torch {after['torch']}, as it was; {len(after.keys() - before.keys())} packages added", flush=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(SOURCE))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    if not smoke():
        others = [f"{n} {after[n]} (pinned: {v})" for n, v in needed.items() if n in after and after[n] != v]
        raise SystemExit(
            f"notebook 00 failed, see above. Other versions than the pinned: {', '.join(others)}; see --renew"
        )
    print("ready: open a notebook's cells below, or run notebooks/00_start_here.ipynb")


if __name__ == "__main__":
    main()
