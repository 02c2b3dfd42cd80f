"""An edit does what it says, and an answer's shares are those of its scores."""

import pytest

from helpers.evaluation.playground import _sureness, edited
from helpers.schemas import ClassText

MONARCH = ClassText(
    class_id="monarch",
    name="the Monarch",
    domain="butterfly",
    look="This butterfly has orange wings.",
    background="It lives in meadows.",
    wording=0,
    writer="offline",
    picture=None,
)


def test_words_of_a_look_are_exchanged_and_the_rest_stays():
    changed = edited(MONARCH, {"orange": "blue"})
    assert (changed.look, changed.background) == ("This butterfly has blue wings.", MONARCH.background)
    assert edited(MONARCH, {"orange": "blue"}, "It is green. ").look == "It is green."


def test_an_edit_that_would_do_nothing_is_refused():
    with pytest.raises(ValueError, match="does not have purple; it reads: 'This butterfly has orange"):
        edited(MONARCH, {"purple": "blue"})


def test_sureness_is_the_softmax_in_percent():
    row = {"options": ["a", "b", "c", "d"], "scores": [0.0, 0.0, -99.0, -99.0], "parsed": 1}
    row |= {"picture": "p.png", "answering": "direct", "description": None}
    shares = _sureness(row)
    assert (shares["a"], shares["b"], shares["c"], shares["answer"]) == (50, 50, 0, "b")
