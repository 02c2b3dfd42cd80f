"""The chain from texts to the report at smoke size, in one process: `python tests/small_run.py FOLDER [HOST]`.

The notebooks' own cells are executed, with the smoke profile's values; only the kernels between them are left out, so
that a whole chain takes half a minute. For tests that compare runs, and that look for the name HOST in what is left.
"""

import socket
import sys
from pathlib import Path

from helpers.config.profiles import load_profile
from helpers.paths import ROOT
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
    profile = load_profile("smoke")
    data, dataset = folder / "data", folder / "datasets"
    settings = {part: getattr(profile, part).model_dump() for part in ("data", "build", "training", "evaluation")}
    run("01_data_generation", domain=DOMAIN, output_dir=str(data), data=settings["data"])
    run("02_dataset_build", domain=DOMAIN, data_dir=str(data), output_dir=str(dataset), build=settings["build"])
    common = {"model": MODEL, "model_path": profile.models[MODEL].path, "domain": DOMAIN, "dataset_dir": str(dataset)}
    for mode in ("base", *profile.modes):
        end = f"{MODEL}/{DOMAIN}/{mode}/main/seed0"
        trained = folder / "training" / end
        asked = {**common, "mode": mode, "adapter_dir": None if mode == "base" else str(trained / "adapter")}
        asked["evaluation"] = settings["evaluation"]
        if mode != "base":
            run("03_qlora_finetuning", **common, mode=mode, output_dir=str(trained), training=settings["training"])
        run("04_evaluation", **asked, retention=False, output_dir=str(folder / "evaluation" / end))
        run("05_ablation", **asked, output_dir=str(folder / "ablation" / end))
    run("06_resources", run_dir=str(folder))
    run("07_paper", run_dir=str(folder))
    run("10_report", run_dir=str(folder))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        socket.gethostname = lambda: sys.argv[2]
    main(Path(sys.argv[1]).resolve())
