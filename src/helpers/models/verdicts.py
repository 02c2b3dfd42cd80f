"""What probing an architecture showed (`helpers.training.probe`), by model type, for one version of transformers.

The project's own verdicts are in ``data/models/verdicts.json``. Those of models that are probed elsewhere are kept in
``runs/verdicts.json``. An architecture, or a version, that was never probed takes the plain way everywhere.
"""

import json
from pathlib import Path
from typing import Any

import transformers

from helpers.models.family import Fast
from helpers.paths import DATA, ROOT, atomic_write

VERDICTS = DATA / "models" / "verdicts.json"
PROBED_HERE = ROOT / "runs" / "verdicts.json"
SHORTCUTS = ("packing", "prompt_trees", "tower_cache")


def known_verdicts(version: str = transformers.__version__) -> dict[str, dict[str, Any]]:
    """Verdicts by model type for a version of transformers; what was probed here comes before what came along."""
    found: dict[str, dict[str, Any]] = {}
    for path in (VERDICTS, PROBED_HERE):
        if path.is_file():
            found |= json.loads(path.read_text(encoding="utf-8")).get(version, {})
    return found


def keep_verdicts(verdicts: dict[str, dict[str, Any]], path: Path = PROBED_HERE) -> None:
    """Add verdicts, by model type, to a file."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    version = transformers.__version__
    kept[version] = dict(sorted({**kept.get(version, {}), **verdicts}.items()))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def fast_of(model_type: str) -> Fast:
    """The shortcuts that an architecture may take."""
    verdict = known_verdicts().get(model_type)
    if verdict is None:
        never = f"{model_type} was never probed with transformers {transformers.__version__}: ./run_all.sh models ID"
        return Fast(why=tuple((name, never) for name in SHORTCUTS))
    return Fast(**{name: bool(verdict[name]) for name in SHORTCUTS}, why=tuple(verdict["why"].items()))
