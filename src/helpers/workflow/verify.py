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
