"""The chain from texts to the report at smoke size, in one process: `python tests/small_run.py FOLDER [HOST]`.

The notebooks' own cells are executed, with the smoke profile's values; only the kernels between them are left out, so
that a whole chain takes half a minute. For tests that compare runs, and that look for the name HOST in what is left.
"""

import socket
import sys
from pathlib import Path

from helpers.config.profiles import load_profile
from helpers.paths import MAIN, ROOT, Layout
from helpers.workflow import notebooks

MODEL, DOMAIN = "qwen2_vl", "butterfly"


def run(name: str, **given: object) -> None:
    """One notebook's cells, in order, in a name space of their own."""
    space: dict[str, object] = {"display": lambda *_: None}
    for cell in notebooks.code_cells(ROOT / "notebooks" / f"{name}.ipynb"):
        exec(compile(cell["source"], name, "exec"), space)
        if notebooks.TAG in cell["metadata"].get("tags", []):
            space.update(given)


def main(folder: Path) -> None:
    """Leave in the folder what the workflow leaves in runs/smoke, of one model."""
    profile, layout = load_profile("smoke"), Layout(folder)
    settings = {part: getattr(profile, part).model_dump() for part in ("data", "build", "training", "evaluation")}
    named = {"domain": DOMAIN, "variant": MAIN}
    data, dataset = (str(layout.folder(step, **named)) for step in ("data", "dataset"))
    run("01_data_generation", **named, output_dir=data, **settings["data"], **profile.writer.model_dump())
    run("02_dataset_build", **named, data_dir=data, output_dir=dataset, **settings["build"])
    common = {"model": MODEL, "model_path": profile.models[MODEL].path, **named, "dataset_dir": dataset}
    for mode in ("base", *profile.modes):
        of_run = {**named, "model": MODEL, "mode": mode, "seed": 0}
        trained, evaluated = (layout.folder(step, **of_run) for step in ("training", "evaluation"))
        if mode != "base":
            run("03_qlora_finetuning", **common, mode=mode, output_dir=str(trained), **settings["training"])
        adapter = None if mode == "base" else str(trained / "adapter")
        asked = {**common, "mode": mode, "adapter_dir": adapter, "output_dir": str(evaluated), "retention": False}
        run("04_evaluation", **asked, **settings["evaluation"])
    for name in ("05_ablation", "06_resources", "07_paper", "10_report"):
        run(name, run_dir=str(folder))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        socket.gethostname = lambda: sys.argv[2]
    main(Path(sys.argv[1]).resolve())
