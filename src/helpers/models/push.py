"""Put a trained adapter on the Hugging Face hub: `./run_all.sh push RUN ADAPTER [--to user/name] [--yes]`

RUN is a run's folder or its name in runs/, ADAPTER the beginning of the adapter's place in it, such as
`qwen2_vl_7b/kviscuit/text_only`. Without `--yes` nothing is sent: it says what would go. What goes are the adapter's
files (`helpers.paths.ADAPTER`) and nothing else. The card gets the run's accuracies and the name on the hub; its text
and the settings are cleared of folders and names of this machine. The run itself is not changed.

The key is the hub client's: the environment variable HF_TOKEN, or the one that `hf auth login` stored.
"""

import argparse
import json
import shutil
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from helpers.models.adapter_card import HERE, Metric, card_text
from helpers.models.checkpoints import read_header
from helpers.paths import ADAPTER, HUB_ID, RUNS, Layout, resolve
from helpers.rows import read_rows
from helpers.schemas import AnswerRow
from helpers.workflow.provenance import sha256
from helpers.workflow.redact import Redactor, scrub
from helpers.workflow.trained import trained_adapters

_OF_AN_ADAPTER = ("base_model.", "prompt_embeddings")  # what peft calls its tensors


def find_adapter(run: Path, beginning: str) -> dict[str, str]:
    """The names (model, domain, ...) of the one adapter of a run whose place begins so.

    Raises ``ValueError`` if there is none or there are several; the message lists those there are.
    """
    found = trained_adapters(run)
    wanted = beginning.strip("/").split("/")
    fits = [place for place in found if place.split("/")[: len(wanted)] == wanted]
    if len(fits) != 1:
        there = "\n".join(f"  {place}" for place in fits or found) or "  none"
        raise ValueError(f"{len(fits)} adapters of {run.name} begin with {beginning!r}; name one of\n{there}")
    return found[fits[0]]


def accuracies(answers: Path) -> list[Metric]:
    """The accuracy of each way of asking, over the rows that showed the image; none if nothing was asked."""

    def way(row: AnswerRow) -> tuple[str, str, str]:
        return row.domain, row.answering, row.protocol

    rows = [row for row in read_rows(answers, AnswerRow) if row.image == "with"] if answers.is_file() else []
    found = []
    for (domain, answering, protocol), group in groupby(sorted(rows, key=way), key=way):
        right = [row.correct for row in group]
        share = round(sum(right) / len(right), 4)
        about = {"domain": domain, "answering": answering, "protocol": protocol}
        found.append({**about, "questions": len(right), "accuracy": share})
    return found


def stage(run: Path, names: dict[str, str], to: str | None, out: Path) -> list[Path]:
    """Write to ``out`` exactly what would be uploaded, and return the files.

    Raises ``FileNotFoundError`` for an incomplete adapter and ``ValueError`` if its tensors are not an adapter's.
    """
    layout = Layout(run)
    folder = layout.folder("training", **names) / "adapter"
    if missing := [name for name in ADAPTER if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; expected an adapter saved by notebook 03")
    if foreign := [name for name in read_header(folder / ADAPTER[1]) if not name.startswith(_OF_AN_ADAPTER)]:
        raise ValueError(f"{folder / ADAPTER[1]}: tensor {foreign[0]} is not an adapter's; it is not uploaded")
    settings: dict[str, Any] = _json(folder / "adapter_config.json")
    trained: dict[str, Any] = _json(folder / "training.json")
    resources = _json(layout.file("training", "resources.json", **names))
    metrics = accuracies(layout.file("evaluation", "answers.jsonl", **names))
    card = card_text(settings["base_model_name_or_path"], trained, resources, to or HERE, metrics)
    shutil.copyfile(folder / ADAPTER[1], out / ADAPTER[1])
    for name, content in {"adapter_config.json": settings, "training.json": trained}.items():
        (out / name).write_text(json.dumps(scrub(content), indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(scrub(card), encoding="utf-8")
    return [out / name for name in ADAPTER]


def upload(files: list[Path], to: str, private: bool) -> str:
    """Make the repository if it is missing, and commit the files; returns the commit's address.

    Raises ``ValueError``, without the key, if the hub refuses.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    hub = HfApi()
    try:
        hub.create_repo(to, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in files]
        return str(hub.create_commit(to, operations, commit_message="Adapter").commit_url)
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, httpx.HTTPError, RuntimeError) as error:
        why = Redactor()(str(error)).strip().splitlines()[0]
        raise ValueError(
            f"the hub did not take it ({why}); HF_TOKEN needs a key with the right to write to {to}, and "
            "HF_HUB_OFFLINE must not be set"
        ) from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Say what would go, or send it. Exit status: 0, or 2 for anything that is wrong."""
    parser = argparse.ArgumentParser(prog="./run_all.sh push", description="Put a trained adapter on the hub.")
    parser.add_argument("run", help="a run's folder, or its name in runs/")
    parser.add_argument("adapter", help="the beginning of its place, as in qwen2_vl_7b/kviscuit/text_only")
    parser.add_argument("--to", metavar="USER/NAME", help="the repository on the hub")
    parser.add_argument("--public", action="store_true", help="a new repository is public; otherwise it is private")
    parser.add_argument("--yes", action="store_true", help="send it; without this nothing is sent")
    given = parser.parse_args(arguments)
    run = RUNS / given.run if (RUNS / given.run).is_dir() else resolve(given.run)
    try:
        if given.to and (not HUB_ID.fullmatch(given.to) or "@" in given.to):
            raise ValueError(f"--to is {given.to!r}; a repository on the hub is called user/name")
        if given.yes and not given.to:
            raise ValueError("--yes needs --to user/name: where it shall go")
        names = find_adapter(run, given.adapter)
        with tempfile.TemporaryDirectory() as staging:
            files = stage(run, names, given.to, Path(staging))
            print(f"{'sends' if given.yes else 'would send'} to {given.to or 'a repository that --to names'}:")
            for file in files:
                print(f"  {file.name:28} {file.stat().st_size:12,} bytes  sha256 {sha256(file)[:12]}")
            print(upload(files, given.to, not given.public) if given.yes else "nothing was sent; --yes sends it")
    except (ValueError, OSError) as error:
        print(f"push: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
