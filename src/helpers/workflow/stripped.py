"""git's clean filter for `notebooks/*.ipynb`: running and saving them in JupyterLab leaves git's view unchanged.

`.gitattributes` names the filter, and `./run_all.sh setup` puts its command into the clone's own configuration. git
then compares and commits notebooks as this module prints them: cells and tags as they are, without outputs and
without the session's metadata. The file on disk keeps its outputs. `notebooks/executed` is not filtered.
"""

import sys
from contextlib import suppress

import nbformat
from nbstripout import strip_output

_SESSION = [
    *(f"cell.metadata.{name}" for name in ("execution", "ExecuteTime", "collapsed", "scrolled", "papermill")),
    *("metadata.widgets", "metadata.papermill"),
]


def stripped(text: str) -> str:
    """A notebook file without outputs, and with the metadata that the sources have.

    JupyterLab writes the kernel's display name and the version of Python into each notebook that it saves.
    """
    notebook = nbformat.reads(text, as_version=4)
    notebook = strip_output(notebook, keep_output=False, keep_count=False, keep_id=True, extra_keys=_SESSION)
    if (kernel := notebook.metadata.get("kernelspec", {})).get("name") == "python3":
        kernel["display_name"] = "Python 3"
    if "language_info" in notebook.metadata:
        notebook.metadata["language_info"] = {"name": notebook.metadata["language_info"]["name"]}
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    """From standard input to standard output; a file that is no notebook, such as one in conflict, as it is."""
    content = sys.stdin.buffer.read()
    with suppress(
        ValueError, nbformat.ValidationError, AttributeError, KeyError
    ):  # its traceback would be in every diff
        content = stripped(content.decode("utf-8")).encode("utf-8")
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
