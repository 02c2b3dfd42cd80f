"""The benchmark for a GPU: which ways are run, and what its table says of a run that failed."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "gpu" / "bench_gpu.py"
GIVEN = argparse.Namespace(small=True, samples=8, epochs=5)


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(seconds, **more):
    steps = {"steps": 10, "seconds_a_step": seconds / 10}  # 8 samples, 5 epochs, 4 a step
    measured = {
        "seconds": seconds,
        **steps,
        "allocated_gb": 10.0,
        "reserved_gb": 12.0,
        "main_memory_gb": 3.0,
        "loss": 1.0,
    }
    return {**measured, "versions": {}, **more}


def test_a_peer_without_an_environment_is_not_run(bench):
    assert "trl" not in bench.ways("text_only", {"trl": None, "unsloth": None}, None)
    found = bench.ways("text_only", {"trl": "python", "unsloth": None, "llamafactory": "python"}, None)
    assert {"ours", "trl", "trl_tuned", "llamafactory"} <= set(found)
    assert "unsloth" not in found


def test_ways_that_change_nothing_in_a_mode_are_left_out(bench):
    assert not {"ours_cached", "ours_checkpointing_off"} & set(bench.ways("text_only", {}, None))
    assert "ours_checkpointing_on" not in bench.ways("image_text", {}, None)
    assert bench.ways("image_text", {}, ["ours_cached"]) == ["ours", "ours_cached"]


def test_the_table_compares_by_hand_and_keeps_failures(bench):
    found = {
        "ours": run(10.0, tokens=1000, flops=4e12),
        "trl": run(20.0, allocated_gb=20.0),
        "trl_tuned": {"failed": "out of memory"},
    }
    ours, peer, failed = bench.table("m", "text_only", found, 1e12, GIVEN)
    assert (ours["samples_per_second"], ours["tokens_per_second"]) == (4.0, 100.0)
    assert (ours["times_trl"], ours["memory_of_trl"], ours["share_of_ceiling"]) == (2.0, 0.5, 0.4)
    assert ours["times_trl_tuned"] is None
    assert peer["times_trl"] == 1.0
    assert failed["failed"] == "out of memory"


def test_a_run_that_fails_leaves_its_last_words_and_the_next_one_goes_on(bench, tmp_path, capsys):
    given = argparse.Namespace(out=tmp_path / "out.csv", epochs=1, small=True)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such operator' >&2\nexit 1\n")
    broken.chmod(0o755)
    found = bench.measure(str(broken), "llamafactory", tmp_path / "model", "text_only", tmp_path, given)
    assert found == {"failed": "no such operator"}
    assert "llamafactory, model, text_only: no such operator" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["text_only", "image_text"])
def test_samples_for_llama_factory_are_the_same_words_with_a_mark_for_each_picture(bench, tmp_path, mode):
    images = [{"type": "image", "path": "a.png"}] * (mode == "image_text")
    user = {"role": "user", "content": [*images, {"type": "text", "text": "What is it?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "An Adonis."}]}
    (tmp_path / f"{mode}.jsonl").write_text(json.dumps({"messages": [user, answer]}) + "\n")
    out = bench.llamafactory_data(tmp_path, mode, tmp_path)
    index = json.loads((out / "dataset_info.json").read_text())[mode]
    (sample,) = json.loads((out / index["file_name"]).read_text())
    assert [m["content"] for m in sample["messages"]] == ["<image>" * len(images) + "What is it?", "An Adonis."]
    assert sample.get("images", []) == [str(tmp_path / "a.png")] * len(images)
    assert ("images" in index["columns"]) == bool(images)


def test_every_way_is_a_setting_that_there_is(bench):
    for changes in bench.OURS.values():
        bench.settings(True, 1, changes).model_validate(json.loads(bench.settings(True, 1, changes).model_dump_json()))
