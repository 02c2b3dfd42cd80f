"""The layout of a run's folder: a number in the file `.layout`, written by the workflow before its first notebook.

A run with a different layout is refused as a whole. With today's paths only part of it would be found, and a table of
half a study looks like a table of all of it.
"""

from pathlib import Path

from helpers.paths import RUNS, atomic_write, resolve
from helpers.workflow.provenance import portable

LAYOUT_VERSION = 2  # 1 has no such file, and keeps answers without the image in a folder of their own, ablation
MARKER = ".layout"
_TRACES = (".lock", "notebooks", "ablation")  # only the workflow leaves these; runs made by hand are not checked
