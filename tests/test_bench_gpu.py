"""The benchmark for a GPU: which ways are run, and what its table says of a run that failed."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "gpu" / "bench_gpu.py"
GIVEN = argparse.Namespace(small=True, epochs=5)


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(seconds, **more):
    measured = {"seconds": seconds, "allocated_gb": 10.0, "reserved_gb": 12.0, "main_memory_gb": 3.0, "loss": 1.0}
    return {**measured, "versions": {}, **more}


def test_a_peer_without_an_environment_is_not_run(bench):
    assert "trl" not in bench.ways("text_only", {"trl": None, "unsloth": None}, None)
    found = bench.ways("text_only", {"trl": "python", "unsloth": None}, None)
    assert {"ours", "trl", "trl_tuned"} <= set(found)
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
    assert (ours["samples_per_second"], ours["tokens_per_second"]) == (4.0, 100.0)  # 8 classes, 5 epochs
    assert (ours["times_trl"], ours["memory_of_trl"], ours["share_of_ceiling"]) == (2.0, 0.5, 0.4)
    assert ours["times_trl_tuned"] is None
    assert peer["times_trl"] == 1.0
    assert failed["failed"] == "out of memory"


def test_every_way_is_a_setting_that_there_is(bench):
    for changes in bench.OURS.values():
        bench.settings(True, 1, changes).model_validate(json.loads(bench.settings(True, 1, changes).model_dump_json()))
