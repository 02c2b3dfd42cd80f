"""Drop-downs for a notebook's parameters: what a reader chooses holds for the cells below.

Shown by ipywidgets where it is installed and somebody watches; otherwise, as in executed copies, the values are a line
of text. The notebook runs the same either way, with the values of its parameters cell.
"""

from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from typing import Any

from helpers.workflow.progress import is_watched


class Choices:
    """The last line of a cell: ``Choices(globals(), steps={"10": 10, "30": 30})``.

    ``offered``: for each parameter the words of a reader and the value that each stands for. A value that the
    parameters cell has and the drop-down lacks is offered too; whether it is allowed, the notebook checks where it uses
    it. Raises ``KeyError`` for a parameter that the notebook does not have.
    """

    def __init__(self, space: dict[str, Any], **offered: Mapping[str, Any]) -> None:
        if unknown := [name for name in offered if name not in space]:
            raise KeyError(f"no parameter {', '.join(unknown)}: a drop-down is for a name of the parameters cell")
        self._space = space
        self._offered = {name: dict(values) for name, values in offered.items()}
        for name, values in self._offered.items():
            if space[name] not in values.values():
                values[str(space[name])] = space[name]

    def chosen(self) -> dict[str, str]:
        """The words for each parameter's present value."""
        return {
            name: next(words for words, value in values.items() if value == self._space[name])
            for name, values in self._offered.items()
        }

    def choose(self, name: str, value: Any) -> None:
        """What a drop-down does: set the notebook's variable."""
        self._space[name] = value

    def drop_downs(self) -> Any:
        """The widgets, one per parameter."""
        from ipywidgets import Dropdown, VBox

        made = []
        for name, values in self._offered.items():
            style = {"description_width": "8em"}
            widget = Dropdown(options=[*values.items()], value=self._space[name], description=name, style=style)
            widget.observe(lambda change: self.choose(change["owner"].description, change["new"]), names="value")
            made.append(widget)
        return VBox(made)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        chosen = self.chosen()
        shown = {
            "text/plain": ", ".join(f"{name}: {words}" for name, words in chosen.items()),
            "text/html": " · ".join(f"{name}: <b>{escape(words)}</b>" for name, words in chosen.items()),
        }
        if is_watched() and find_spec("ipywidgets"):
            view = "application/vnd.jupyter.widget-view+json"
            shown[view] = self.drop_downs()._repr_mimebundle_()[view]
        return shown
