"""Where classes, images and questions come from: one interface for drawn worlds and real data sets.

`open_domain` returns a `helpers.domains.interface.Domain`. Nothing after notebook 01 depends on a domain's source. A
new source needs a module with a `DataSource` and a line in `SOURCES`, which the workflow, the writer, the dataset card,
tables and figures all use.
"""

from pathlib import Path

from helpers.domains import butterflies, drawn, kviscuit, own
from helpers.domains.interface import DataSource, Domain, DomainRequest
from helpers.paths import ROOT
from helpers.workflow import preflight

__all__ = ["SOURCES", "Domain", "check_source", "data_source", "domain_labels", "input_files", "open_domain"]

SOURCES: dict[str, DataSource] = {
    "drawn": drawn.DRAWN,
    "kviscuit": kviscuit.KVISCUIT,
    "butterflies": butterflies.BUTTERFLIES,
    "own": own.OWN,
}


def data_source(name: str) -> DataSource:
    """A source by its name in a profile. Raises ``ValueError`` for an unknown name."""
    if name not in SOURCES:
        raise ValueError(f"source is {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name]


def check_source(domain: str, source: str, path: str | Path | None, missing_images: str = "refuse") -> None:
    """Raise ``ValueError`` for a source that is unknown or does not match path, domain's name or ``missing_images``.

    Costs nothing, so it can be called before anything runs; only `open_domain` reads the path.
    """
    tables = data_source(source).tables
    if missing_images != "refuse" and not (missing_images == "leave_out" and data_source(source).leaves_out):
        able = ", ".join(name for name, found in SOURCES.items() if found.leaves_out)
        raise ValueError(
            f"missing_images is {missing_images!r} with source {source}: only {able} can leave questions out "
            "(leave_out); otherwise write refuse, and correct or remove the images that are named"
        )
    if not tables and path is None:
        raise ValueError(f"source {source} without a path: name the folder to read it from")
    if tables and path is not None:
        raise ValueError(f"source {source} with path {str(path)!r}: a {source} domain takes none; leave path out")
    if tables and domain not in tables:
        raise ValueError(f"domain is {domain!r}; the {source} domains are {', '.join(tables)}")


def input_files(domain: str, source: str, path: str | None, missing_images: str = "refuse") -> list[str]:
    """The files that a domain is read from, which the workflow watches; none for a data set on the hub.

    Raises `helpers.workflow.preflight.PreflightError` for a missing folder, and for anything that `check_source`
    refuses.
    """
    try:
        check_source(domain, source, path, missing_images)
    except ValueError as error:
        raise preflight.PreflightError(f"domains.{domain}: {error}") from None
    if path is not None:
        return preflight.source_files(path)
    return [data_source(source).tables[domain].relative_to(ROOT).as_posix()]


def domain_labels() -> dict[str, str]:
    """The names of the built-in domains in tables and figures, in order."""
    return {domain: label for source in SOURCES.values() for domain, label in source.labels.items()}


def open_domain(
    domain: str,
    source: str,
    source_path: str | Path | None,
    limit_classes: int | None,
    images_per_class: int,
    image_size: int,
    seed: int,
    distractors: str = "random",
    missing_images: str = "refuse",
    dialect: str = "captions",
) -> Domain:
    """The named domain; ``limit_classes`` keeps only the first classes and their questions.

    ``missing_images``: "refuse", or "leave_out" the questions about them (`Domain.left_out` counts).

    ``source_path`` is a folder, relative to the repository root, or a data set on the hub; None for a drawn domain.
    Raises ``ValueError`` for anything that `check_source` refuses, and whatever the readers raise.
    """
    check_source(domain, source, source_path, missing_images)
    path = "" if source_path is None else source_path
    request = DomainRequest(
        domain, path, limit_classes, images_per_class, image_size, seed, distractors, missing_images, dialect
    )
    return SOURCES[source].open(request)
