"""The adapters that a run has trained."""

from pathlib import Path

from helpers.paths import ADAPTER, STEPS, Layout


def trained_adapters(run: Path) -> dict[str, dict[str, str]]:
    """The names (model, domain, mode, variant, seed) of each adapter of a run, by its place below the run's trainings.

    An adapter without weights, of a training that has not ended, is not among them.
    """
    fields = STEPS["training"].fields
    anything = Layout(run).folder("training", **dict.fromkeys(fields, "*"))
    found = {}
    for folder in sorted(run.glob(str(anything.relative_to(run)))):
        if (folder / "adapter" / ADAPTER[1]).is_file():
            parts = folder.parts[-len(fields) :]
            found["/".join(parts)] = dict(zip(fields, (*parts[:-1], parts[-1].removeprefix("seed")), strict=True))
    return found
