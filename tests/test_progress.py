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


@pytest.fixture
def cell(monkeypatch):
    """What a notebook's cell shows by `display`, in order: new ones, then updates."""
    shown = []

    class Handle:
        def update(self, drawn):
            shown.append(("update", drawn))

    def display(drawn, display_id):
        assert display_id
        shown.append(("display", drawn))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    return shown


def test_a_live_curve_grows_in_place_and_disappears(clock, cell):
    live = progress.LiveCurve(40, before=10)
    for step in range(11, 15):
        live.add(step, 1 / step)
        clock[0] += 0.6
    assert live.points == [(11, 1 / 11), (12, 1 / 12), (13, 1 / 13), (14, 1 / 14)]
    assert [kind for kind, _ in cell] == ["display", "update"]  # one point is no curve; then at most one a second
    assert cell[0][1].data.startswith(b"\x89PNG")
    assert (live.bar.n, live.bar.total) == (14, 40)
    live.close()
    assert cell[-1][1].data == ""


def test_a_notebook_of_the_workflow_is_not_watched(monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": True})())
    monkeypatch.delenv(progress.provenance.MANIFEST, raising=False)
    assert progress.is_watched()
    monkeypatch.setenv(progress.provenance.MANIFEST, "a.manifest.json")
    assert not progress.is_watched()


def test_a_script_is_not_watched(monkeypatch):
    monkeypatch.delenv(progress.provenance.MANIFEST, raising=False)
    assert not progress.is_watched()
