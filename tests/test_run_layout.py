"""A run of another layout is refused whole, with what to do; new runs, today's and those made by hand pass."""

import pytest

from helpers.workflow.run_layout import LAYOUT_VERSION, MARKER, OldRunError, check_layout, mark_layout


def leave(run, *names):
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
    return run


def test_a_run_that_the_workflow_marked_can_be_gone_on_with(tmp_path):
    run = tmp_path / "demo"
    assert mark_layout(run).read_text() == f"{LAYOUT_VERSION}\n"
    leave(run, ".lock", "evaluation/answers.jsonl", "notebooks/paper.ipynb")
    check_layout(run)
    before = (run / MARKER).stat().st_mtime_ns
    mark_layout(run)
    assert (run / MARKER).stat().st_mtime_ns == before  # a marked run is left alone


@pytest.mark.parametrize("trace", [".lock", "notebooks/ablate/a.ipynb", "ablation/answers.jsonl"])
def test_results_of_the_workflow_without_a_mark_are_old(tmp_path, trace):
    run = leave(tmp_path / "demo", trace, "evaluation/answers.jsonl")
    for refuse in (check_layout, mark_layout):
        with pytest.raises(
            OldRunError, match=r"older version.*\.layout is missing; needed: 3.*mv .*demo_layout1.*rm -r"
        ):
            refuse(run)
    assert not (run / MARKER).exists()


def test_another_number_is_refused_and_a_higher_one_is_called_newer(tmp_path):
    run = leave(tmp_path / "demo", "evaluation/answers.jsonl")
    for number, said in (("1", "older"), (str(LAYOUT_VERSION + 1), "newer"), ("what?", "older")):
        (run / MARKER).write_text(number)
        with pytest.raises(OldRunError, match=said):
            check_layout(run)


def test_what_has_no_results_yet_is_new(tmp_path):
    check_layout(tmp_path / "none")
    run = leave(tmp_path / "demo", ".lock", ".counter", "logs/warm.log")
    (run / "notebooks").mkdir()
    mark_layout(run)


def test_a_run_made_by_hand_needs_no_mark(tmp_path):
    check_layout(leave(tmp_path / "lab", "training/resources.json", "results/table1.csv"))
