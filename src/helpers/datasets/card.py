"""The card of a data set: a README.md with a YAML header, in the Hugging Face hub's format.

It gives the source of the data and its licence, the number of rows and the hash of each file, the settings, the hashes
of the writer's prompts, and the audit's results. Nothing in it varies between runs, so equal data sets have equal
cards.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from helpers.config.prompts import PromptFile
from helpers.domains import SOURCES, data_source
from helpers.domains.interface import Origin
from helpers.paths import atomic_write
from helpers.schemas import ClassText
from helpers.workflow.provenance import portable, sha256

SCHEMA = 1  # version of our part of the header; increases when a field changes its meaning
UNKNOWN_LICENCE = Origin("Not stated.", "unknown")


def source_of(name: str | None) -> Origin:
    """The origin of a source, by its name in a profile. Raises ``ValueError`` for an unknown name."""
    return UNKNOWN_LICENCE if name is None else data_source(name).origin


def recorded_source(data: Path) -> str | None:
    """The source that notebook 01 used, from the manifest in its folder; None if there is no manifest."""
    path = data / "manifest.json"
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    name = recorded.get("parameters", {}).get("source")
    return name if name in SOURCES else None


def write_dataset_card(
    folder: Path,
    domain: str,
    source: Origin,
    files: Mapping[str, int],
    settings: Mapping[str, Any],
    texts: Iterable[ClassText],
    audit: Mapping[str, Any],
    remarks: Mapping[str, str] | None = None,
    prompts: PromptFile | None = None,
) -> Path:
    """Write README.md into ``folder``.

    ``files``: the numbers of rows by file name; ``remarks``: by file name, why a file is empty or what else a reader
    should know; ``prompts``: those of the samples. Raises ``FileNotFoundError`` for a missing file.
    """
    made = _header(folder, domain, source, files, settings, texts, audit, prompts)
    header = yaml.safe_dump(made, allow_unicode=True, sort_keys=False, width=120)
    body = "\n".join(_body(domain, source, made["text_only_training"], audit, remarks or {}))
    path = folder / "README.md"
    with atomic_write(path) as temporary:
        temporary.write_text(f"---\n{header}---\n\n{body}\n", encoding="utf-8")
    return path


def _header(
    folder: Path,
    domain: str,
    source: Origin,
    files: Mapping[str, int],
    settings: Mapping[str, Any],
    texts: Iterable[ClassText],
    audit: Mapping[str, Any],
    prompts: PromptFile | None,
) -> dict[str, Any]:
    """The hub's own fields come first; everything else is in ``text_only_training``."""
    return {
        "pretty_name": f"Text-only training: {domain}",
        "license": source.licence,
        "task_categories": ["visual-question-answering"],
        "configs": [{"config_name": Path(name).stem, "data_files": name} for name, rows in files.items() if rows],
        "text_only_training": {
            "schema": SCHEMA,
            "domain": domain,
            "source": source.text,
            "files": {
                name: {"rows": rows, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
                for name, rows in files.items()
            },
            "settings": portable(settings),
            "texts": _writers(texts),
            "prompts": {"version": prompts.version, "hash": prompts.hash} if prompts else None,
            "audit": audit_summary(audit),
        },
    }


def _writers(texts: Iterable[ClassText]) -> dict[str, Any]:
    """Counted in one pass, so that the texts need not be held."""
    writers: Counter[str] = Counter()
    prompts: set[str | None] = set()
    classes: set[str] = set()
    for text in texts:
        writers[text.writer] += 1
        classes.add(text.class_id)
        prompts.add(text.prompt_hash)
    return {"classes": len(classes), "writers": dict(writers), "prompt_hashes": sorted(filter(None, prompts))}


def audit_summary(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The audit's numbers without its examples."""
    return {name: _number(value) for name, value in audit.items()}


def _number(value: Any) -> Any:
    if isinstance(value, Mapping) and "examples" in value:
        return value["count"]
    if isinstance(value, Mapping):
        return {name: _number(inner) for name, inner in value.items()}
    return len(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


def _body(
    domain: str, source: Origin, made: Mapping[str, Any], audit: Mapping[str, Any], remarks: Mapping[str, str]
) -> list[str]:
    files = [
        f"| `{name}` | {about['rows']} | `{about['sha256'][:12]}` | {remarks.get(name, '')} |"
        for name, about in made["files"].items()
    ]
    numbers = [f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in audit_summary(audit).items()]
    hashes, asked = made["texts"]["prompt_hashes"], made["prompts"]
    written = ", ".join(f"{number} by {writer}" for writer, number in made["texts"]["writers"].items())
    return [
        f"# Text-only training: {domain}",
        "",
        f"{source.text} Licence: {source.licence}.",
        "",
        f"Texts of {made['texts']['classes']} classes: {written or 'none'}"
        + (f"; prompts {', '.join(hashes)}." if hashes else "; no model was asked.")
        + (" Samples: prompts version {version}, hash {hash}.".format(**asked) if asked else ""),
        "",
        *("| file | rows | sha256 | remark |", "|---|---|---|---|", *files),
        "",
        "Pictures are paths from this folder.",
        "",
        *("## Settings", "", "```json", json.dumps(made["settings"], ensure_ascii=False), "```", ""),
        *("## Audit", "", "| what | found |", "|---|---|", *numbers),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_cell(inner)}" for name, inner in value.items())
    return "-" if value is None else str(value)


def count_rows(rows: Iterable[Any]) -> int:
    """The number of rows; those of a file are validated one by one."""
    return sum(1 for _ in rows)
