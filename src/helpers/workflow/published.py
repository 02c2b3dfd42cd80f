"""The notebooks with their outputs, to read without running anything: `python -m helpers.workflow.published runs/demo`

One executed copy per notebook goes to `notebooks/executed/`; for a notebook that runs many times, that of `EXAMPLE`. A
run need not have all of them: what is not there is left as it is. Images are scaled to the width at which they are
shown, so that all copies together stay below `LARGEST_TOGETHER` bytes.
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

from helpers.paths import MAIN, NOTEBOOKS, STEPS, Layout, atomic_write, resolve
from helpers.workflow.notebooks import TAG

EXECUTED = NOTEBOOKS / "executed"
EXAMPLE = {
    "model": "qwen2_vl",
    "domain": "butterfly",
    "mode": "text_only",
    "variant": MAIN,
    "seed": 0,
    "grid": "controls",
}
WIDTH = 1260  # pixels: one and a half times what a notebook shows an image in
LARGEST_TOGETHER = 6_000_000  # bytes of all copies together
INJECTED = "injected-parameters"  # papermill's tag


def publish(run: Path, target: Path = EXECUTED) -> list[Path]:
    """Copy the executed notebooks that a run has; returns the copies."""
    layout, copies = Layout(run), []
    for step, made in STEPS.items():
        names = EXAMPLE if step != "own_classes" else EXAMPLE | {"domain": "own"}
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
    """What stands in a notebook's cells; parameters apart, which a run may have been given."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    own = [cell for cell in cells if not {TAG, INJECTED} & set(cell["metadata"].get("tags", []))]
    return ["".join(cell["source"]) for cell in own]


def _outputs(content: Any) -> Iterator[dict[str, Any]]:
    for cell in content["cells"]:
        yield from cell.get("outputs", [])


def _smaller(png: str) -> str:
    """The image, at most `WIDTH` pixels wide, in as few bytes as PNG takes without loss."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        shown = image.convert("RGB").resize(size, Image.Resampling.LANCZOS) if image.width > WIDTH else image.copy()
    memory = io.BytesIO()
    shown.save(memory, "PNG", optimize=True)
    return base64.b64encode(memory.getvalue()).decode("ascii")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 published, 1 too large together, 2 nothing to publish."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workflow.published", description="Publish executed copies."
    )
    parser.add_argument("run", help="the folder of a finished run, such as runs/demo")
    copies = publish(resolve(parser.parse_args(arguments).run))
    size = sum(file.stat().st_size for file in EXECUTED.glob("*.ipynb"))
    if not copies:
        print("no executed notebook in that run; run it first, as in: ./run_all.sh publish", file=sys.stderr)
        return 2
    print(f"{len(copies)} notebooks with their outputs in notebooks/executed: {size / 1e6:.1f} MB together")
    if size > LARGEST_TOGETHER:
        print(f"that is more than {LARGEST_TOGETHER / 1e6:.0f} MB: show fewer images, or smaller ones", file=sys.stderr)
    return int(size > LARGEST_TOGETHER)


if __name__ == "__main__":
    sys.exit(main())
