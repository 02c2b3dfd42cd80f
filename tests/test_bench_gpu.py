"""The benchmark for a GPU: its plan, what counts in it, and a rehearsal of it with shrunk models."""

import importlib
import json
import sys
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def bench():
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("one")
    sys.path[:] = before


@pytest.fixture
def peers(bench):
    return importlib.import_module("peers")


@pytest.fixture
def wheels(bench):
    return importlib.import_module("wheels")


def test_ways_take_turns_and_then_in_reverse(bench):
    row = bench.Row("first", bench.QWEN, "text_only", ("a", "b"), repeats=3)
    assert list(bench.order(row)) == ["a", "b", "b", "a", "a", "b"]


def test_the_most_telling_rows_come_first_and_name_ways_that_there_are(bench):
    first = [row for row in bench.PLAN if row.part == "first"]
    assert bench.PLAN[: len(first)] == tuple(first)
    assert {"graph", "before", "trl", "trl_tuned"} == set(first[0].ways)
    assert {row.model for row in first} == {bench.QWEN}
    assert {w for row in bench.PLAN for w in row.ways} == {*bench.OURS, *bench.TRL, *bench.APART, "scoring", "lm_eval"}
    assert {row.part for row in bench.PLAN} == set(bench.PARTS)
    assert all(row.repeats == 5 for row in bench.PLAN if row.what == "figure 2")


def run(seconds=1.0, **more):
    return {"seconds": 10 * seconds, "seconds_per_step": seconds, "first_loss": 2.0, "first_norm": 1.0, **more}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"first_loss": 2.009, "first_norm": 1.019}, None),
        ({"first_loss": 2.011}, "first_loss is 2.011, the peer's 2.0"),
        ({"first_norm": 0.97}, "first_norm is 0.97, the peer's 1.0"),
        ({"first_norm": float("nan")}, "first_norm is nan, the peer's 1.0"),
        ({"first_norm": None}, "first_norm is None, the peer's 1.0"),
    ],
)
def test_a_run_is_void_unless_it_begins_as_the_peer_does(bench, changed, why):
    assert bench.void(run(**changed), run()) == why
    assert bench.void(run(**changed), None) is None
    assert bench.void({"failed": "out of memory"}, run()) is None


def test_the_table_holds_medians_of_what_counts(bench):
    about = {"hardware": "one card", "versions": {"torch": "2"}, "date": "2026-11-28"}
    of = {"what": "steps", "model": "m", "mode": "text_only", "samples": 8, "batch": 4, "turn": 0}
    lines = [
        about,
        *({**of, "way": "trl", **run(s)} for s in (1.0, 1.2, 2.0)),
        *({**of, "way": "graph", **run(s, void=v)} for s, v in ((0.4, None), (0.1, "first_loss is off"), (0.6, None))),
        {**of, "way": "memory", "failed": "out of memory"},
    ]
    made = bench.table(lines).set_index("way")
    assert list(made.index) == ["trl", "graph"]
    assert made["seconds_per_step"].tolist() == [1.2, 0.5]
    assert made["runs"].tolist() == [3, 2]
    assert made["times_trl"].tolist() == [1.0, 2.4]
    assert made["times_trl_tuned"].isna().all()
    assert made["hardware"].tolist() == ["one card"] * 2


def test_rates_are_those_of_what_was_counted_on_the_same_data(bench):
    counted = {"tokens": 4000, "flops": 8e12, "steps": 10}
    found = bench.rates(run(0.5), counted, 16.0)
    assert found == {"tokens_per_step": 400, "tokens_per_second": 800, "tflops": 1.6, "share_of_ceiling": 0.1}
    assert bench.rates({"failed": "x"}, counted, 16.0) == bench.rates(run(), None, 16.0) == {}


def bare(bench, *words):
    """A bench that has loaded nothing."""
    made = object.__new__(bench.Bench)
    made.given = bench.arguments().parse_args(["rows.jsonl", "--small", *words])
    return made


def test_every_way_is_of_settings_that_there_are_or_is_told_as_impossible(bench):
    for changes in bench.OURS.values():
        try:
            settings = bare(bench).settings(4, changes)
        except bench.Impossible as reason:
            assert "this version" in str(reason)
        else:
            known = {name: value for name, value in changes.items() if name in type(settings).model_fields}
            assert known.items() <= settings.model_dump().items()
            assert settings.lora_dropout == 0.0


def test_a_setting_that_this_version_lacks_may_be_off(bench):
    assert bare(bench).settings(4, {"invented": False}).batch_size == 4
    with pytest.raises(bench.Impossible, match="no setting invented in this version"):
        bare(bench).settings(4, {"invented": True})


def test_after_the_deadline_nothing_starts(bench, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    bench.main(bench.arguments().parse_args([str(out), "--small", "--parts", "second", "--seconds", "0"]))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines
    assert lines[0]["small"] and lines[-1]["what"] == "end"
    assert {line["skipped"] for line in lines[1:-1]} == {"0 s had passed"}
    assert len(lines) - 2 == sum(len(row.ways) * min(row.repeats, 2) for row in bench.PLAN if row.part == "second")


@pytest.mark.slow
def test_the_rehearsal_runs_each_way_on_one_base_and_says_why_others_do_not(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(
        bench,
        "PLAN",
        (
            bench.Row("first", bench.QWEN, "text_only", ("plain", "trl"), 8),
            bench.Row("first", bench.QWEN, "image_text", ("scoring",), 8, 4, what="scoring"),
        ),
    )
    monkeypatch.setattr(bench.Bench, "trl", lambda *_: (_ for _ in ()).throw(ImportError("no module trl")))
    out = tmp_path / "rows.jsonl"
    bench.main(bench.arguments().parse_args([str(out), "--small"]))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    first, second, *scored = [line for line in lines if line.get("way") in ("plain", "scoring")]
    assert [line["skipped"] for line in lines if line.get("way") == "trl"] == ["no module trl"] * 2
    assert (first["steps"], first["timed_steps"]) == (4, 2)
    assert first["first_loss"] == second["first_loss"] and first["first_norm"] == second["first_norm"]
    assert first["tokens_per_second"] > 0 and first["void"] is None
    assert [line["same_reply"] for line in scored] == [bench.SMALL_QUESTIONS] * 2
    assert bench.table(lines)["runs"].tolist() == [2, 2]


@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_samples_for_llama_factory_are_the_same_words_with_a_mark_for_each_picture(peers, tmp_path, mode):
    images = [{"type": "image", "path": "a.png"}] * (mode == "image_text")
    user = {"role": "user", "content": [*images, {"type": "text", "text": "What is it?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "An Adonis."}]}
    (tmp_path / f"{mode}.jsonl").write_text(json.dumps({"messages": [user, answer]}) + "\n")
    out = peers.llamafactory_data(tmp_path, mode, tmp_path)
    index = json.loads((out / "dataset_info.json").read_text())[mode]
    (sample,) = json.loads((out / index["file_name"]).read_text())
    assert [m["content"] for m in sample["messages"]] == ["<image>" * len(images) + "What is it?", "An Adonis."]
    assert sample.get("images", []) == [str(tmp_path / "a.png")] * len(images)
    assert ("images" in index["columns"]) == bool(images)


def test_a_wheel_is_cut_to_what_is_needed_with_its_list_of_files(wheels, tmp_path):
    with zipfile.ZipFile(tmp_path / "thing-1-py3-none-any.whl", "w") as made:
        for name in ("thing/a.so", "thing/b.so", "thing/c.py"):
            made.writestr(name, "x")
        made.writestr("thing-1.dist-info/RECORD", "thing/a.so,,\nthing/b.so,,\nthing/c.py,,\n")
    wheels.cut(tmp_path, "thing", lambda name: not name.endswith("b.so"))
    with zipfile.ZipFile(tmp_path / "thing-1-py3-none-any.whl") as cut:
        assert cut.namelist() == ["thing/a.so", "thing/c.py", "thing-1.dist-info/RECORD"]
        assert cut.read("thing-1.dist-info/RECORD").decode() == "thing/a.so,,\nthing/c.py,,\n"


def test_packages_are_those_of_the_lock(wheels):
    assert wheels.pinned("transformers").startswith("transformers==")
    with pytest.raises(SystemExit, match="no-such-package"):
        wheels.pinned("no-such-package")
