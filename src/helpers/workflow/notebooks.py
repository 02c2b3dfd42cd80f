"""What a notebook declares and needs, read from its file without running it.

Given a parameter that the notebook does not declare, papermill only warns and then runs for an hour with the default.
Here that is an error, and the workflow checks all notebooks before it starts the first. papermill's own inspection
reads the parameters cell with regular expressions, which miss a line such as ``rate: float = 0.1  # try rate = 0.3``;
this module parses it.
"""

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp

from helpers import paths

TAG = "parameters"
PACKAGE = "helpers"


class NotebookError(ValueError):
    """A notebook that cannot be run as asked. The message names the notebook, the fault and the remedy."""


def code_cells(notebook: str | Path) -> list[dict[str, Any]]:
    """The code cells of a notebook file as in its JSON, with `source` as one string."""
    path = Path(notebook)
    if not path.is_file():
        raise NotebookError(f"there is no notebook {notebook}; correct its name")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [
            {**cell, "source": "".join(cell["source"])} for cell in content["cells"] if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotebookError(
            f"{notebook} is not a notebook of format 4: {error!r}; save it again in JupyterLab"
        ) from None
    _check_language(notebook, content.get("metadata"))
    return cells


def _check_language(notebook: str | Path, metadata: Any) -> None:
    """This Python runs every notebook, whatever kernel it names; one in another language would fail in a cell."""
    named = [_entry(metadata, "kernelspec", "language"), _entry(metadata, "language_info", "name")]
    language = next((str(name) for name in named if name), "python")
    if language.lower() not in ("python", "python3"):
        raise NotebookError(
            f"{notebook} is written for a kernel of the language {language!r}; only Python notebooks can be run. "
            "In JupyterLab: menu Kernel, Change Kernel, Python 3"
        )


def _entry(metadata: Any, *keys: str) -> Any:
    """The value at these keys of nested objects; None if there is none."""
    for key in keys:
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return metadata


def parameter_cells(notebook: str | Path) -> list[str]:
    """The sources of the cells tagged `parameters`."""
    tagged = ((cell["source"], _entry(cell, "metadata", "tags")) for cell in code_cells(notebook))
    return [source for source, tags in tagged if isinstance(tags, list) and TAG in tags]


def declared_parameters(notebook: str | Path) -> list[str]:
    """Names assigned in the one cell tagged `parameters`, in order."""
    tagged = parameter_cells(notebook)
    if len(tagged) != 1:
        raise NotebookError(
            f"{notebook} has {len(tagged)} cells tagged `{TAG}`; it needs exactly one, which assigns every parameter. "
            "In JupyterLab: property inspector (gear wheels), cell tags"
        )
    return [name for statement in parse(notebook, tagged[0]).body for name in assigned(statement)]


def check_parameters(notebook: str | Path, given: Iterable[str]) -> None:
    """Raise `NotebookError` naming each given parameter that the notebook does not declare."""
    declared = declared_parameters(notebook)
    if unknown := [name for name in given if name not in declared]:
        raise NotebookError(
            f"{notebook} does not declare the parameter {', '.join(unknown)}; it declares {', '.join(declared)}. "
            f"Correct the name, or assign it in the cell tagged `{TAG}`"
        )


def helper_files(notebooks: Iterable[str | Path]) -> dict[str, list[str]]:
    """For each notebook, the project's own modules that it imports, directly or not, as files relative to the root.

    A change in one of them counts as a change of the notebook; a change in any other module does not.
    """
    graph = grimp.build_graph(PACKAGE, cache_dir=None)  # parsing the package is faster than checking a cache
    return {str(notebook): sorted(map(_file, _closure(graph, _imported(notebook)))) for notebook in notebooks}


def files_behind(modules: Iterable[str]) -> dict[str, list[str]]:
    """The same for modules that a notebook imports by name, such as a member of `helpers.families`."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    return {module: sorted(map(_file, _closure(graph, {module}))) for module in modules}


def parse(notebook: str | Path, source: str) -> ast.Module:
    """The Python in a cell, without IPython's own lines (`%magic`, `!command`)."""
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise NotebookError(f"{notebook}: syntax error in a cell: {error.msg}: {error.text}") from None
    except (ValueError, MemoryError, RecursionError) as error:  # half a character; brackets or sums nested too deeply
        raise NotebookError(
            f"{notebook}: a cell cannot be read as Python ({error or type(error).__name__}); correct it in JupyterLab"
        ) from None


def assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns, one or several."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _imported(notebook: str | Path) -> set[str]:
    """The package's modules that the notebook imports. `from a import b` gives a and a.b, since b may be a module."""
    names: set[str] = set()
    for cell in code_cells(notebook):
        for node in ast.walk(parse(notebook, cell["source"])):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return {name for name in names if name.split(".")[0] == PACKAGE}


def _closure(graph: grimp.ImportGraph, names: set[str]) -> set[str]:
    """All modules that importing `names` runs: these, their packages, and what they import in turn."""
    found: set[str] = set()
    waiting = names & graph.modules
    while waiting:
        module = waiting.pop()
        found.add(module)
        package = {module.rpartition(".")[0]} - {""}
        waiting |= (graph.find_modules_directly_imported_by(module) | package) - found
    return found


def _file(module: str) -> str:
    """The module's file, relative to the root."""
    base = paths.ROOT.joinpath("src", *module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return file.relative_to(paths.ROOT).as_posix()
