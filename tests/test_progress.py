"""A line now and then with the time left; never a carriage return, so that a log file can be read too."""

import pytest

from helpers.workflow import progress
from helpers.workflow.progress import Ticker, watched


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_follows_from_the_time_so_far(clock, capsys):
    ticker = Ticker("step", 40)
    for done in range(1, 13):
        clock[0] += 1
        ticker.tick(done, ", loss 0.500")
    printed = capsys.readouterr().out
    assert printed == "progress: step 5/40, loss 0.500, 35 s left\nprogress: step 10/40, loss 0.500, 30 s left\n"
    assert "\r" not in printed


def test_what_an_earlier_run_did_took_no_time_here(clock, capsys):
    ticker = Ticker("step", 40, before=30)
    clock[0] += 10
    ticker.tick(30)
    assert capsys.readouterr().out == ""
    ticker.tick(35)
    assert capsys.readouterr().out == "progress: step 35/40, 10 s left\n"


def test_a_loop_can_be_watched(clock, capsys):
    def slow():
        for item in watched(["a", "b", "c"], "picture"):
            clock[0] += 6
            yield item

    assert list(slow()) == ["a", "b", "c"]
    assert capsys.readouterr().out.splitlines()[0] == "progress: picture 1/3, 12 s left"
