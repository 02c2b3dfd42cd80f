"""An edit does what it says."""

import pytest

from helpers.schemas import ClassText
from helpers.training.playground import edited

MONARCH = ClassText(
    class_id="monarch",
    name="the Monarch",
    domain="butterfly",
    appearance="This butterfly has orange wings.",
    background="It lives in meadows.",
    wording=0,
    writer="offline",
    image=None,
)


def test_words_of_a_look_are_exchanged_and_the_rest_stays():
    changed = edited(MONARCH, {"orange": "blue"})
    assert (changed.appearance, changed.background) == ("This butterfly has blue wings.", MONARCH.background)


def test_an_edit_that_would_do_nothing_is_refused():
    with pytest.raises(ValueError, match="does not contain purple; it reads: 'This butterfly has orange"):
        edited(MONARCH, {"purple": "blue"})
