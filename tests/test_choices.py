"""Drop-downs set the notebook's variables, and a run without a reader shows the values as text."""

import sys
from types import SimpleNamespace

import pytest

from helpers.config import choices
from helpers.config.choices import Choices

VIEW = "application/vnd.jupyter.widget-view+json"
NAMES = {"Monarch": "monarch", "Blue <Morpho>": "blue-morpho", "nobody's": None}


@pytest.fixture
def space():
    return {"class_id": "monarch", "described_as": None, "steps": 45}


def shown(made):
    return made._repr_mimebundle_()


def test_without_a_reader_the_values_of_the_parameters_are_shown_in_words(space):
    made = Choices(space, class_id=NAMES, described_as=NAMES, steps={"30": 30})
    assert shown(made) == {
        "text/plain": "class_id: Monarch, described_as: nobody's, steps: 45",  # 45 is not offered, but given
        "text/html": "class_id: <b>Monarch</b> · described_as: <b>nobody&#x27;s</b> · steps: <b>45</b>",
    }


def test_a_choice_sets_the_variable_and_holds_when_the_cell_is_run_again(space):
    Choices(space, class_id=NAMES).choose("class_id", "blue-morpho")
    assert space["class_id"] == "blue-morpho"
    assert shown(Choices(space, class_id=NAMES))["text/html"] == "class_id: <b>Blue &lt;Morpho&gt;</b>"


def test_a_reader_without_ipywidgets_has_the_text(space, monkeypatch):
    monkeypatch.setattr(choices, "is_watched", lambda: True)
    monkeypatch.setattr(choices, "find_spec", lambda name: None)
    assert VIEW not in shown(Choices(space, class_id=NAMES))


def test_a_reader_has_a_drop_down_per_parameter(space, monkeypatch):
    """With a stand-in that has the interface of ipywidgets."""
    made = []

    class Dropdown(SimpleNamespace):
        def observe(self, handler, names):
            assert names == "value"
            self.handler = handler
            made.append(self)

    class Box(SimpleNamespace):
        def _repr_mimebundle_(self):
            return {VIEW: {"model_id": "of the box"}, "text/plain": "VBox"}

    monkeypatch.setattr(choices, "is_watched", lambda: True)
    monkeypatch.setattr(choices, "find_spec", lambda name: True)
    stand_in = SimpleNamespace(Dropdown=Dropdown, VBox=lambda children: Box(children=children))
    monkeypatch.setitem(sys.modules, "ipywidgets", stand_in)
    assert shown(Choices(space, class_id=NAMES, steps={"30": 30}))[VIEW] == {"model_id": "of the box"}
    assert [(widget.description, widget.value) for widget in made] == [("class_id", "monarch"), ("steps", 45)]
    assert made[1].options == [("30", 30), ("45", 45)]
    made[1].handler({"owner": made[1], "new": 30})
    assert space["steps"] == 30


def test_ipywidgets_itself_sets_the_variable(space):
    pytest.importorskip("ipywidgets")
    drop_downs = Choices(space, described_as=NAMES).drop_downs()
    drop_downs.children[0].value = "blue-morpho"
    assert space["described_as"] == "blue-morpho"


def test_a_parameter_that_the_notebook_lacks_is_named(space):
    with pytest.raises(KeyError, match="no parameter stepz"):
        Choices(space, stepz={"30": 30})
