"""The notebooks with their outputs, to read without running anything: `python -m helpers.workflow.published runs/demo`

One executed copy per notebook goes to `notebooks/executed/`. Of a notebook that runs many times, it is the run named in
`EXAMPLE`. A run need not have all notebooks: copies of the missing ones are left as they are. Images are scaled down,
so that all copies together stay below `LARGEST_TOGETHER` bytes.
"""

import argparse
import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from helpers.images import in_few_colours
from helpers.paths import MAIN, NOTEBOOKS, STEPS, Layout, atomic_write, resolve
from helpers.workflow.notebooks import TAG

EXECUTED = NOTEBOOKS / "executed"
EXAMPLE = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "variant": MAIN, "seed": 0}
EXAMPLE |= {"member": "clip", "grid": "controls"}
WIDTH = 1260  # pixels: one and a half times the width at which a notebook shows an image
LARGEST_TOGETHER = 6_000_000  # bytes of all copies together
INJECTED = "injected-parameters"  # papermill's tag


def publish(run: Path, target: Path = EXECUTED) -> list[Path]:
    """Copy the executed notebooks that a run has; returns the copies."""
    layout, copies = Layout(run), []
    for step, made in STEPS.items():
        names = {**EXAMPLE, **({"domain": "own"} if step == "own_classes" else {})}
        executed = layout.executed(step, **names)
        if executed.is_file():
            content = json.loads(executed.read_text(encoding="utf-8"))
            for output in _outputs(content):
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = _smaller(output["data"]["image/png"])
            copies.append(target / f"{made.notebook}.ipynb")
            with atomic_write(copies[-1]) as temporary:
                temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return copies


def sources(notebook: Path) -> list[str]:
    """The sources of a notebook's cells, except parameters, which a run may override."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = {TAG, INJECTED}
    return ["".join(cell["source"]) for cell in cells if not tagged & set(cell["metadata"].get("tags", []))]


def _outputs(content: Any) -> Iterator[dict[str, Any]]:
    for cell in content["cells"]:
        yield from cell.get("outputs", [])


def _smaller(png: str) -> str:
    """The image, at most `WIDTH` pixels wide and in 256 colours of its own: half the bytes, and no loss to see."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        shown = image.convert("RGB")
    shown = shown.resize(size, Image.Resampling.LANCZOS) if shown.width > WIDTH else shown
    memory = io.BytesIO()
    in_few_colours(shown).save(memory, "PNG", optimize=True)
    return base64.b64encode(memory.getvalue()).decode("ascii")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 published, 1 copies too large in total, 2 nothing to publish."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.published", description="Publish executed copies."
    )
    parser.add_argument("run", help="the folder of a finished run, such as runs/demo")
    copies = publish(resolve(parser.parse_args(arguments).run))
    size = sum(file.stat().st_size for file in EXECUTED.glob("*.ipynb"))
    if not copies:
        print("no executed notebook in that run; run it first, as in: ./run_all.sh publish", file=sys.stderr)
        return 2
    print(f"{len(copies)} notebooks with their outputs in notebooks/executed: {size / 1e6:.1f} MB in total")
    if size > LARGEST_TOGETHER:
        print(f"that is more than {LARGEST_TOGETHER / 1e6:.0f} MB: show fewer images, or smaller ones", file=sys.stderr)
    return int(size > LARGEST_TOGETHER)


if __name__ == "__main__":
    sys.exit(main())
