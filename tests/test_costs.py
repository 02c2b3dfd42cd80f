"""Costs by a clock that repeats: ratios over seeds, the break-even, what an older record lacks, and the claims."""

import json
import math

import pandas as pd
import pytest

from helpers.results import claims
from helpers.results.tables import (
    answering_costs,
    break_even,
    cost_ratios,
    costs_beside,
    not_recorded,
    read_resources,
    read_timings,
    steps_on_a_gpu,
    table1,
    trainings_in_turns,
    write_csv,
)
from helpers.schemas import NO_METER
from helpers.workflow.stopwatch import Spent
from helpers.workflow.verify import verify

RUN = {"model": "qwen2_vl", "domain": "butterfly"}
SECONDS = {"text_only": (20.0, 30.0), "image_text": (40.0, 40.0)}  # ratios 0.5 and 0.75, of the means 0.625


def record(**different):
    run = {**RUN, "mode": "text_only", "variant": "main", "seed": 0, "compute_seconds": 20.0, "compute_of": "CPU"}
    run |= {"seconds": 30.0, "memory_above_model_mb": 60.0, "peak_memory_mb": 700.0, "energy_wh": None}
    run |= {"energy_source": NO_METER, "vision_tower_calls": 0, "tokens": 5000, "samples": 200}
    return run | different


def trained(**different):
    return pd.DataFrame(
        record(mode=mode, seed=seed, compute_seconds=seconds, **different)
        for mode, both in SECONDS.items()
        for seed, seconds in enumerate(both)
    )


def asked(text=0.05, image=0.01):
    ways = {("text_only", "describe_then_answer"): text, ("image_text", "direct"): image, ("text_only", "direct"): 9.0}
    return pd.DataFrame(
        {**RUN, "mode": mode, "answering": way, "compute_seconds": each, "n_type1": 200, "n_type2": 100}
        for (mode, way), each in ways.items()
    )


def written(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_ratio_is_that_of_the_means_with_the_range_of_the_seeds_that_have_both():
    (row,) = cost_ratios(trained()).to_dict("records")
    assert [row[f"compute_seconds{end}"] for end in ("", "_low", "_high")] == [0.625, 0.5, 0.75]
    assert row["seeds"] == 2 and row["memory_above_model_mb"] == 1
    assert math.isnan(row["energy_wh"])  # nobody measured it
    third = pd.DataFrame([record(seed=2, compute_seconds=1.0)])  # no image + text run beside it
    assert cost_ratios(pd.concat([trained(), third]))["compute_seconds"].tolist() == [0.625]
    assert cost_ratios(third).empty


def test_a_cost_that_one_run_lacks_has_no_ratio():
    table = trained()
    table.loc[0, "memory_above_model_mb"] = None
    assert cost_ratios(table)["memory_above_model_mb"].isna().all()
    assert cost_ratios(table)["compute_seconds"].tolist() == [0.625]


def test_the_saving_is_gone_when_dearer_answers_have_used_it_up():
    (row,) = break_even(trained(), asked()).to_dict("records")
    assert (row["train_seconds_text_only"], row["train_seconds_image_text"]) == (25, 40)
    assert row["break_even"] == 375  # 15 s saved, 0.04 s more per question
    assert row["questions"] == 300
    assert row["seconds_share"] == pytest.approx((25 + 300 * 0.05) / (40 + 300 * 0.01), abs=1e-4)


def test_what_costs_no_more_is_never_used_up_and_what_saved_nothing_is_gone_at_once():
    assert break_even(trained(), asked(text=0.01))["break_even"].tolist() == [math.inf]
    same = trained().assign(compute_seconds=40.0)
    assert break_even(same, asked())["break_even"].tolist() == [0]


@pytest.mark.parametrize("lacks", ["answers", "describing", "timing", "training"])
def test_without_one_of_the_numbers_there_is_no_break_even(lacks):
    table, answers = trained(), asked()
    if lacks == "answers":
        answers = pd.DataFrame()
    elif lacks == "describing":
        answers = answers[answers["answering"] == "direct"]
    elif lacks == "timing":
        answers = answers.assign(compute_seconds=float("nan"))
    else:
        table = table[table["mode"] == "text_only"]
    assert break_even(table, answers).empty


def test_a_record_of_an_earlier_version_is_read_without_its_estimated_energy_and_says_what_it_lacks(tmp_path):
    new = {"compute_seconds", "compute_of", "memory_above_model_mb"}
    old = {name: value for name, value in record().items() if name not in new}
    old |= {"cpu_seconds": 21.0, "memory_of": "process", "energy_wh": 0.2, "energy_source": "estimated (TDP)"}
    (read,) = read_resources([written(tmp_path / "old.json", old)]).to_dict("records")
    assert (read["energy_wh"], read["energy_estimate_wh"], read["energy_source"]) == (None, 0.2, NO_METER)
    assert (read["compute_seconds"], read["compute_of"]) == (21.0, "CPU")
    both = read_resources([tmp_path / "old.json", written(tmp_path / "new.json", record(seed=1))])
    said = not_recorded(both)
    assert said.startswith(
        "1 of 2 records lack memory above the loaded model (memory_above_model_mb): train these runs"
    )
    assert not_recorded(both[both["seed"] == 1]) == ""


def test_of_an_earlier_record_only_the_measured_part_is_energy(tmp_path):
    old = {name: value for name, value in record().items() if name != "compute_seconds"}
    old |= {"cpu_wh": 1.0, "ram_wh": 5.0, "gpu_wh": 3.0, "energy_wh": 9.0, "memory_of": "GPU", "cpu_seconds": 4.0}
    old |= {"energy_modes": {"cpu": "estimated (TDP)", "ram": "estimated (size)", "gpu": "measured (NVML counter)"}}
    (read,) = read_resources([written(tmp_path / "old.json", old)]).to_dict("records")
    assert (read["energy_wh"], read["energy_estimate_wh"]) == (3.0, 9.0)
    assert (read["compute_seconds"], read["compute_of"]) == (None, "GPU")


def timings_in(folder, **cost):
    folder.mkdir()
    row = {**RUN, "mode": "text_only", "variant": "main", "seed": len(cost)}
    (folder / "answers.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    entry = {"direct/option_likelihood/with": {"seconds": 6.0, "questions": 4, "new_tokens": 6, **cost}}
    return written(folder / "timings.json", entry)


def rows_of(count):
    key = {**RUN, "mode": "text_only", "variant": "main", "seed": 0, "image": "with", "answering": "direct"}
    key |= {"protocol": "option_likelihood", "question_type": 1, "correct": True}
    return pd.DataFrame({**key, "question_id": str(number), "new_tokens": number} for number in range(count))


def test_an_answers_cost_is_tokens_from_its_rows_and_seconds_from_the_timings(tmp_path):
    rows = rows_of(4)  # they write 0, 1, 2 and 3 tokens
    timed = timings_in(tmp_path / "new", compute_seconds=2.0, compute_of="CPU")
    costs = answering_costs(table1(rows), rows, read_timings([timed]))
    assert costs[["tokens", "seconds", "compute_seconds"]].to_numpy().tolist() == [[1.5, 1.5, 0.5]]
    assert costs["compute_of"].tolist() == ["CPU"]
    assert answering_costs(table1(rows), rows, read_timings([]))["compute_seconds"].isna().all()
    older = answering_costs(table1(rows), rows, read_timings([timed, timings_in(tmp_path / "old")]))
    assert older["compute_seconds"].isna().all() and older["seconds"].tolist() == [1.5]  # half a sum is no sum
    with pytest.raises(FileNotFoundError, match=r"gone/timings\.json does not exist"):
        read_timings([tmp_path / "gone" / "timings.json"])


def test_an_unknown_time_stays_unknown_in_a_sum():
    total = Spent(2.0, 1.0) + Spent(1.0, math.nan) / 2 - Spent(0.5, 0.0)
    assert total.seconds == 2.0 and math.isnan(total.compute_seconds)


def test_steps_on_a_gpu_are_compared_within_one_way(tmp_path):
    way = {"model": "7b", "way": "ours", "attention": "flash", "lora": "peft", "hardware": "H200", "date": "2026-11-26"}
    steps = [
        way | {"mode": "text_only", "seconds_a_step": 0.3, "allocated_gb": 12.0},
        way | {"mode": "image_text", "seconds_a_step": 0.6, "allocated_gb": 10.0},
        way | {"mode": "image_text", "lora": "other", "seconds_a_step": 0.1, "allocated_gb": 1.0},
    ]
    (found,) = steps_on_a_gpu(write_csv(pd.DataFrame(steps), tmp_path / "gpu.csv")).to_dict("records")
    assert (found["time"], found["memory"], found["date"]) == (0.5, 1.2, "2026-11-26")
    assert steps_on_a_gpu(tmp_path / "none.csv").empty


def test_the_published_steps_of_7b_models_have_a_pair():
    assert steps_on_a_gpu()[["time", "memory"]].to_numpy().tolist() == [[0.647, 1.21]]


def test_this_run_trainings_in_turns_and_the_gpu_stand_side_by_side(tmp_path):
    turns = trained().rename(columns={"seed": "round"}).assign(hardware="a CPU", date="2026-11-27", commit="abc")
    file = write_csv(turns, tmp_path / "costs.csv")
    table = costs_beside(trained(), file, tmp_path / "none.csv")
    assert table["source"].tolist() == ["this run", "benchmarks/costs.csv"]
    assert table["domain"].tolist() == ["butterfly", "butterfly"]
    assert table["time"].tolist() == [0.625, 0.625] and table["time_high"].tolist() == [0.75, 0.75]
    assert trainings_in_turns(tmp_path / "none.csv").empty
    alone = costs_beside(trained(), tmp_path / "none.csv")
    assert alone["source"].tolist() == ["this run", "benchmarks/gpu/h200.csv"]
    assert alone[["time_low", "time_high", "runs"]].iloc[1].tolist() == [0.647, 0.647, 1]  # one pair is its own range


def judged(folder, monkeypatch, costs, answers=None, turns=None):
    """The claims on costs of a folder with these tables, by claim."""
    blank = {f"{measure}{end}": 40.0 for measure in ("type1", "type2") for end in ("", "_low", "_high")}
    write_csv(pd.DataFrame([{**RUN, "mode": "text_only", "answering": "direct", **blank}]), folder / "table1.csv")
    write_csv(costs, folder / "figure2.csv")
    if answers is not None:
        write_csv(answers, folder / "answering.csv")
    none = pd.DataFrame(columns=["model", "domain", "mode", "seed"])
    monkeypatch.setattr(claims, "trainings_in_turns", lambda: none if turns is None else turns)
    tables = claims.read_tables(folder, verify([folder]))
    tables.doubts.clear()  # nothing recorded these files
    return {claim.claim: claim for claim in claims.claims(tables)}


def test_a_cost_is_lower_if_it_is_lower_for_every_seed(tmp_path, monkeypatch):
    turns = trained().assign(hardware="a CPU", commit="abcdef123456")
    found = judged(tmp_path, monkeypatch, trained(), turns=turns)
    time = found["Text-only training takes less CPU time"]
    assert time.verdict == "reproduced"
    assert time.evidence == (
        f"{claims.label('qwen2_vl')}: 0.62 (0.50 to 0.75, 2 pairs of runs) of image-text training",
        f"in turns (benchmarks/costs.csv, a CPU, commit abcdef1): {claims.label('qwen2_vl')} "
        "0.62 (0.50 to 0.75, 2 pairs of runs)",
    )
    mixed = trained()
    mixed.loc[(mixed["mode"] == "text_only") & (mixed["seed"] == 1), "compute_seconds"] = 41.0
    assert judged(tmp_path, monkeypatch, mixed)["Text-only training takes less CPU time"].verdict == "open"


def test_energy_without_a_meter_is_not_measured_and_says_why(tmp_path, monkeypatch):
    energy = judged(tmp_path, monkeypatch, trained())["Text-only training takes less energy"]
    assert (energy.verdict, energy.evidence) == ("not measured", (NO_METER,))


def test_a_published_table_of_an_earlier_version_says_what_to_make_again(tmp_path, monkeypatch):
    old = trained().drop(columns=["compute_seconds", "memory_above_model_mb", "compute_of"])
    found = judged(tmp_path, monkeypatch, old, asked())
    for claim in ("CPU time", "memory above the loaded model"):
        one = found[f"Text-only training takes less {claim}"]
        assert one.verdict == "not measured" and "make them again (notebook 03)" in one.evidence[0]


def test_training_and_answers_together_have_a_verdict_and_the_break_even(tmp_path, monkeypatch):
    claim = "Training and answers together, text only describing first costs less than image + text asked directly"
    found = judged(tmp_path, monkeypatch, trained(), asked())[claim]
    said = f"{claims.label('qwen2_vl')}: 0.93 with 300 questions; gone after 375"
    assert (found.verdict, found.evidence) == ("reproduced", (said,))
    dear = judged(tmp_path, monkeypatch, trained(), asked(text=0.5))[claim]
    assert dear.verdict == "not reproduced"
    cheap = judged(tmp_path, monkeypatch, trained(), asked(text=0.01))[claim]
    assert cheap.evidence[0].endswith("never gone")
