"""Claims about the tables: what is read, what is refused, and that a CSV says what the rows say."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from helpers.paths import DATA, ROOT, atomic_write, resolve
from helpers.results.tables import (
    ANSWER_COLUMNS,
    REPORTED_COLUMNS,
    comparison,
    find,
    grid_reading,
    grid_table,
    in_order,
    look_alikes,
    name_variants,
    of_protocol,
    of_variant,
    phases_table,
    read_answers,
    read_drawn_appearances,
    read_reported,
    read_resources,
    read_retention,
    resources_table,
    rounded,
    table1,
    table2,
    write_csv,
)
from helpers.schemas import NO_METER, texts_hash

TABLE1 = (
    "model,domain,mode,answering,protocol,seeds,n_type1,n_type2,type1,type1_low,type1_high,"
    "type2,type2_low,type2_high,overall,overall_low,overall_high"
)
RESOURCES = (
    "model,domain,mode,variant,seed,compute_seconds,compute_of,seconds,memory_above_model_mb,peak_memory_mb,"
    "energy_wh,energy_source,vision_tower_calls,tokens,samples"
)


def row(number: int, right: bool, **different) -> dict:
    """An answers row; the right option is always 1, a wrong answer names option 2."""
    blank = dict.fromkeys(ANSWER_COLUMNS)
    key = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": 0}
    asked = {"image": "with", "answering": "direct", "protocol": "option_likelihood", "options": list("abcd")}
    asked |= {"category": "name", "prompt_hash": "0"}
    question = {"question_id": f"q{number}", "question_type": 1 + number % 2, "new_tokens": number}
    return blank | key | asked | question | {"answer": 1, "parsed": 1 if right else 2, "correct": right} | different


def answers(right: str, **different) -> list[dict]:
    return [row(number, letter == "1", **different) for number, letter in enumerate(right)]


def frame(*groups: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([one for group in groups for one in group])


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def resources_file(path: Path, **different) -> Path:
    run = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "seed": 0}
    cost = {"compute_seconds": 25.0, "compute_of": "CPU", "seconds": 30.0, "memory_above_model_mb": 90.0}
    cost |= {"peak_memory_mb": 1000.0, "energy_wh": None, "energy_source": NO_METER, "vision_tower_calls": 0}
    record = run | cost | {"tokens": 5000, "samples": 200} | different
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_answers_of_several_files_come_back_as_one_table_in_order(tmp_path):
    write_rows(tmp_path / "b" / "answers.jsonl", answers("11", mode="base"))
    write_rows(tmp_path / "a" / "answers.jsonl", answers("10"))
    found = read_answers(find(tmp_path, "answers.jsonl"))
    assert found["mode"].tolist() == ["base"] * 2 + ["text_only"] * 2
    assert found["correct"].tolist() == [True, True, True, False]


def test_no_files_give_an_empty_table_with_the_columns():
    assert list(read_answers([]).columns) == list(ANSWER_COLUMNS)
    assert find(Path("no/such/folder"), "answers.jsonl") == []


def test_an_unreadable_reply_is_read_as_wrong(tmp_path):
    found = read_answers([write_rows(tmp_path / "a.jsonl", [*answers("1"), row(1, False, parsed=None)])])
    assert found["parsed"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"parsed": None, "correct": True}, "jsonl:2: the row: correct is True; .* only if parsed equals answer"),
        ({"correct": True}, "jsonl:2: the row: correct is True"),
        ({"parsed": 4}, r"jsonl:2: parsed: .* less than or equal to 3 \(it is 4\)"),
        ({"question_type": 3}, r"jsonl:2: question_type: .* 1 or 2 \(it is 3\)"),
        ({"image": "blurred"}, r"jsonl:2: image: .*'with', 'without'.*\(it is 'blurred'\)"),
        ({"question_id": "q0", "question_type": 1}, "jsonl:2: 'qwen2_vl/.*/q0' is there twice"),
        ({"scores": [0.0]}, "jsonl:2: scores: List should have at least 4 items"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_its_value(tmp_path, different, said):
    path = write_rows(tmp_path / "a.jsonl", [row(0, True), row(1, False) | different])
    with pytest.raises(ValueError, match=said):
        read_answers([path])


def test_a_missing_column_a_torn_row_an_empty_and_an_absent_file_are_each_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    short = row(0, True)
    del short["prompt_hash"]
    with pytest.raises(
        ValueError,
        match="jsonl:1: prompt_hash: Field required; if an earlier version wrote the file, run its notebook again",
    ):
        read_answers([write_rows(path, [short])])
    path.write_text(json.dumps(row(0, True)) + '\n{"model": "qw', encoding="utf-8")
    with pytest.raises(ValueError, match="jsonl:2: the row: Invalid JSON"):
        read_answers([path])
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no answers"):
        read_answers([path])
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl does not exist"):
        read_answers([tmp_path / "gone.jsonl"])


def test_rows_that_were_asked_other_questions_are_not_put_into_one_table(tmp_path):
    one = write_rows(tmp_path / "one.jsonl", answers("11", dataset_hash="aaa", mode="base"))
    other = write_rows(tmp_path / "other.jsonl", answers("10", dataset_hash="bbb"))
    said = r"other\.jsonl: qwen2_vl answered data set bbb of domain 'butterfly', variant 'main', but .*one\.jsonl"
    with pytest.raises(ValueError, match=said):
        read_answers([one, other])
    with pytest.raises(ValueError, match=said.replace("other", "other_kept").replace("one", "one_kept")):
        read_retention(
            [shutil.copy(one, tmp_path / "one_kept.jsonl"), shutil.copy(other, tmp_path / "other_kept.jsonl")]
        )
    older = write_rows(tmp_path / "older.jsonl", answers("00", mode="hybrid"))
    another = write_rows(tmp_path / "another.jsonl", answers("00", variant="data.seed=1", dataset_hash="bbb"))
    read = read_answers([one, older, another])
    assert read["dataset_hash"].fillna("").tolist() == ["aaa"] * 2 + ["bbb"] * 2 + [""] * 2


@pytest.mark.parametrize("different", [{"options": list("abce")}, {"answer": 2, "parsed": 2}])
@pytest.mark.parametrize("named", [None, "aaa"])
def test_older_rows_that_name_no_data_set_are_known_by_options_and_answer(tmp_path, different, named):
    one = write_rows(tmp_path / "one.jsonl", answers("11", dataset_hash=named, mode="base"))
    older = write_rows(tmp_path / "older.jsonl", answers("11", **different))
    with pytest.raises(ValueError, match=r"older\.jsonl: .* answered question 'q0' of .*one\.jsonl with other options"):
        read_answers([one, older])
    of_variant_ = write_rows(tmp_path / "other.jsonl", answers("11", variant="data.distractors=x", **different))
    assert len(read_answers([one, of_variant_])) == 4


def test_trainings_on_other_texts_are_not_put_into_one_table(tmp_path):
    one = resources_file(tmp_path / "one.json", texts_hash="aaa")
    for number, other in enumerate(({"mode": "image_text"}, {"seed": 1}, {"model": "llava_next"})):
        path = resources_file(tmp_path / f"{number}.json", texts_hash="bbb", **other)
        with pytest.raises(ValueError, match=rf"{number}\.json: .* was trained on the texts bbb .*one\.json on aaa"):
            read_resources([one, path], variant=None)
    older = resources_file(tmp_path / "older.json", mode="hybrid")
    variant = resources_file(tmp_path / "variant.json", variant="data.wordings_per_class=2", texts_hash="bbb")
    domain = resources_file(tmp_path / "domain.json", domain="culture", texts_hash="bbb")
    assert len(read_resources([one, older, variant, domain], variant=None)) == 4
    assert "texts_hash" not in resources_table(read_resources([one]))


def test_the_texts_of_a_data_set_are_known_by_their_words(tmp_path):
    text = {"class_id": "a", "name": "A", "domain": "own", "appearance": "Red.", "background": "Old.", "wording": 0}
    text |= {"writer": "own", "image": None}

    def written(**different):
        (tmp_path / "texts.jsonl").write_text(json.dumps(text | different) + "\n")
        return texts_hash(tmp_path)

    assert texts_hash(tmp_path) is None
    same = written()
    assert same == written(writer="offline") == written(domain="butterfly")
    assert (
        len({same, written(appearance="Blue."), written(background="New."), written(class_id="b"), written(name="B")})
        == 5
    )


def test_questions_that_were_left_out_are_told_in_tables_and_when_they_are_read(tmp_path):
    whole = write_rows(tmp_path / "a.jsonl", answers("10", domain="culture"))
    lacking = write_rows(tmp_path / "b.jsonl", answers("1100", left_out=7))
    with pytest.warns(UserWarning, match="domain butterfly: 7 questions are left out, as their images are missing"):
        rows = read_answers([whole, lacking])
    table = table1(rows)
    assert table.set_index("domain")["left_out"].to_dict() == {"butterfly": 7, "culture": 0}
    assert "left_out" not in table1(read_answers([whole]))
    assert "left_out" in grid_table(rows, read_resources([]), read_retention([]), {})


def test_a_column_that_no_row_fills_is_left_out_and_what_other_versions_wrote_is_passed_over(tmp_path):
    rows = [*answers("1", run_id="qwen2_vl/main"), row(1, True, alternative_parsed=3)]
    assert set(read_answers([write_rows(tmp_path / "a.jsonl", rows)]).columns) == {
        *ANSWER_COLUMNS,
        "alternative_parsed",
    }


def test_ten_thousand_answers_are_read(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [row(n, True, scores=[-1.5, -2.5, -3.5, -4.5]) for n in range(10_000)])
    assert len(read_answers([path])) == 10_000


def test_table1_has_the_fixed_columns_and_hand_computed_numbers(tmp_path):
    table = table1(frame(answers("1101")))  # type 1: questions 0 and 2, type 2: questions 1 and 3
    text = write_csv(table, tmp_path / "table1.csv").read_text(encoding="utf-8")
    head, line = text.splitlines()
    assert head == TABLE1
    assert (
        line
        == "qwen2_vl,butterfly,text_only,direct,option_likelihood,1,2,2,50.0,9.5,90.5,100.0,34.2,100.0,75.0,30.1,95.4"
    )


def test_table1_leaves_out_questions_asked_without_the_picture():
    assert table1(frame(answers("11"), answers("00", image="without")))["overall"].tolist() == [100]


def test_tables_come_in_one_order_whatever_the_order_of_the_files():
    keys = [(model, mode) for model in ("new_vlm", "llava_next", "qwen2_vl") for mode in ("image_text", "base")]
    rows = frame(*(answers("1", model=model, mode=mode) for model, mode in keys))
    table = table1(pd.concat([rows, rows.assign(answering="describe_then_answer")]))
    assert table["model"].unique().tolist() == ["qwen2_vl", "llava_next", "new_vlm"]
    assert table["mode"].tolist()[:4] == ["base", "base", "image_text", "image_text"]
    assert table["answering"].tolist()[:2] == ["direct", "describe_then_answer"]


def test_seeds_are_ordered_as_numbers():
    assert in_order(pd.DataFrame({"mode": "base", "seed": [10, 9]}))["seed"].tolist() == [9, 10]


def test_table2_pairs_each_run_with_itself_without_the_picture(tmp_path):
    shown = frame(answers("11"), answers("11", mode="image_text"), answers("11", answering="describe_then_answer"))
    table = table2(shown, frame(answers("10", image="without")))
    assert list(table.columns) == [*TABLE1.split(",")[:5], "image", *TABLE1.split(",")[5:]]
    assert table[["mode", "answering", "image", "overall"]].to_numpy().tolist() == [
        ["text_only", "direct", "with", 100.0],
        ["text_only", "direct", "without", 50.0],
    ]


def test_table2_holds_the_ceiling_of_type_2_beside_the_image_withheld():
    named = [row for row in answers("1011", image="named") if row["question_type"] == 2]
    table = table2(frame(answers("1000")), frame(answers("0000", image="without"), named))
    assert table["image"].tolist() == ["with", "without", "named"]
    last = table.iloc[-1]
    assert last["n_type1"] == 0 and last["n_type2"] == len(named)
    assert last["type2"] == 100 * sum(row["correct"] for row in named) / len(named)
    assert pd.isna(last["type1"]) and pd.isna(last["overall"])


def test_table2_without_an_ablation_is_empty_and_still_has_its_columns():
    table = table2(frame(answers("11")), read_answers([]))
    assert table.empty
    assert "image" in table.columns


def test_resources_have_the_fixed_columns_one_row_a_run(tmp_path):
    files = [resources_file(tmp_path / f"{seed}.json", seed=seed, seconds=31.23456) for seed in (1, 0)]
    text = write_csv(resources_table(read_resources(files)), tmp_path / "resources.csv").read_text(encoding="utf-8")
    row = f"qwen2_vl,butterfly,text_only,main,0,25.0,CPU,31.23,90.0,1000.0,,{NO_METER},0,5000,200"
    assert text.splitlines()[:2] == [RESOURCES, row]


def test_a_run_named_twice_or_a_record_without_its_numbers_is_refused(tmp_path):
    path = resources_file(tmp_path / "a.json")
    with pytest.raises(ValueError, match="qwen2_vl/butterfly/text_only/main/0 is named twice"):
        read_resources([path, path])
    path.write_text('{"model": "qwen2_vl"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json: domain: Field required; if an earlier version"):
        read_resources([path])
    with pytest.raises(FileNotFoundError, match=r"b\.json does not exist; run the fine-tuning that writes it, or corr"):
        read_resources([tmp_path / "b.json"])


def test_what_a_record_says_beyond_the_fixed_columns_is_kept_and_an_energy_may_be_unknown(tmp_path):
    phases = {"train": {"seconds": 30.0}}
    (read,) = read_resources([resources_file(tmp_path / "a.json", phases=phases)]).to_dict("records")
    assert (read["energy_source"], read["phases"], read["energy_wh"]) == (NO_METER, phases, None)
    with pytest.raises(ValueError, match=r"b\.json: seconds: Input should be a valid number \(it is 'long'\)"):
        read_resources([resources_file(tmp_path / "b.json", seconds="long")])


def test_the_reported_numbers_are_every_cell_of_both_tables_and_only_the_six_known_ones():
    reported = read_reported(DATA / "reported.csv")
    assert list(reported.columns) == list(REPORTED_COLUMNS)
    assert len(reported) == 2 * 2 * 3 * 2
    assert not reported.duplicated(["model", "domain", "mode", "image"]).any()
    known = reported.dropna(subset="overall")
    assert known["overall"].tolist() == pytest.approx([100 * 469 / 657, 100 * 170 / 400], abs=0.02)
    assert known["type1"].tolist() == pytest.approx([100 * 176 / 237, 100 * 61 / 200], abs=0.005)
    assert known["source"].str.contains("second-hand").all()
    assert reported[["type1", "type2", "overall"]].notna().to_numpy().sum() == 6


def test_a_reported_number_outside_percent_or_a_lost_column_is_refused(tmp_path):
    path = tmp_path / "reported.csv"
    path.write_text(",".join(REPORTED_COLUMNS) + "\nm,d,base,with,742.6,,,\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"outside 0\.\.100"):
        read_reported(path)
    path.write_text("model,domain\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the columns mode"):
        read_reported(path)


def test_comparison_puts_the_papers_number_beside_the_direct_answers_only():
    rows = frame(*(answers("10", domain="culture", answering=how) for how in ("direct", "describe_then_answer")))
    found = comparison(table1(rows), read_reported(DATA / "reported.csv")).set_index("answering")
    assert found.loc["direct", ["overall", "reported_overall"]].tolist() == [50, 71.39]
    assert found.loc["direct", "reported_model"] == "Qwen2-VL-7B"
    assert pd.isna(found.loc["describe_then_answer", "reported_overall"])


def test_comparison_leaves_unknown_cells_and_unknown_models_empty():
    rows = frame(answers("10"), answers("10", model="new_vlm"))
    found = comparison(table1(rows), read_reported(DATA / "reported.csv"))
    assert len(found) == 2
    assert found["reported_overall"].isna().all()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(pd.DataFrame({"a": [1]}), path)
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "a\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet_and_the_last_one_wins(tmp_path):
    path = tmp_path / "features.bin"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert first != second
        assert not path.exists()
    assert path.read_bytes() == b"first"  # its block ends last
    assert list(tmp_path.iterdir()) == [path]


def test_relative_paths_count_from_the_repository_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("data/reported.csv") == ROOT / "data" / "reported.csv"
    assert resolve(tmp_path) == tmp_path.resolve()


def test_a_table_is_of_one_protocol_the_first_unless_told():
    both = frame(answers("11", protocol="letter"), answers("00"))
    assert table1(both)[["protocol", "overall"]].to_numpy().tolist() == [["letter", 100]]
    assert table1(both, "option_likelihood")["overall"].tolist() == [0]
    with pytest.raises(ValueError, match="'sum'; the protocols are letter, option_likelihood"):
        table1(both, "sum")


def test_each_variant_may_have_a_first_protocol_of_its_own():
    both = frame(answers("1", protocol="letter"), answers("0"), answers("0", variant="other"))
    assert of_protocol(both)["protocol"].tolist() == ["letter", "option_likelihood"]


def test_the_papers_tables_show_the_profile_as_it_stands():
    assert table1(frame(answers("11"), answers("00", variant="build.shuffled=True")))["overall"].tolist() == [100]
    with pytest.raises(ValueError, match="no answers of variant 'main'; the variants are 'x'"):
        of_variant(frame(answers("1", variant="x")))


def test_table2_reads_both_sides_by_one_protocol():
    without = frame(answers("11", image="without", protocol="letter"), answers("00", image="without"))
    assert table2(frame(answers("11")), without)["overall"].tolist() == [100, 0]


def test_resources_are_of_the_profile_as_it_stands_unless_all_are_asked_for(tmp_path):
    files = [resources_file(tmp_path / f"{name}.json", variant=name) for name in ("main", "shuffled")]
    assert read_resources(files)["variant"].tolist() == ["main"]
    assert read_resources(files, variant=None)["variant"].tolist() == ["main", "shuffled"]
    (tmp_path / "old.json").write_text((tmp_path / "main.json").read_text().replace('"variant": "main", ', ""))
    assert read_resources([tmp_path / "old.json"])["variant"].tolist() == ["main"]


def test_looks_are_indexed_as_options_name_the_classes():
    assert read_drawn_appearances("butterfly").loc["Adonis", "wing_colour"] == "blue"
    assert {"Kimchi", "Bibimbap"} <= set(read_drawn_appearances("culture").index)
    assert read_drawn_appearances("kviscuit") is None


def test_look_alikes_are_of_the_domains_whose_looks_a_table_describes():
    """The one question of Type 1: Monarch is right, and the other known butterfly is chosen."""
    asked = {"options": ["Adonis", "Monarch", "?", "??"], "answer": 1, "parsed": 0, "correct": False}
    rows = frame([row(0, False, **asked)], [row(0, False, domain="kviscuit", **asked)])
    table = look_alikes(rows, ["domain"])
    appearances = read_drawn_appearances("butterfly")
    differs = int((appearances.loc["Adonis"] != appearances.loc["Monarch"]).sum())
    assert table.to_numpy().tolist() == [["butterfly", differs, 1, 1, 100.0]]
    elsewhere = look_alikes(rows[rows["domain"] == "kviscuit"], ["domain"])
    assert elsewhere.empty and list(elsewhere) == list(table)


def test_rounding_keeps_small_p_values_and_the_axis():
    table = rounded(pd.DataFrame({"low": [1.26], "type1_p": [0.000012345], "p_holm": [0.5], "x": [0.0004], "n": [3]}))
    assert table.to_numpy().tolist() == [[1.3, 1.23e-05, 0.5, 0.0004, 3]]


RANKS = {"main": {}, "r4": {"training.lora_rank": 4}, "r64": {"training.lora_rank": 64}}


def test_variants_are_named_by_what_they_differ_in():
    named = name_variants(RANKS, {"training.lora_rank": 16}, x="training.lora_rank")
    assert [variant.name for variant in named.values()] == ["lora rank 16 (main)", "lora rank 4", "lora rank 64"]
    assert [variant.x for variant in named.values()] == [16, 4, 64]
    assert [variant.x for variant in name_variants(RANKS, x="lora_rank").values()] == [None, 4, 64]
    words = name_variants({"main": {}, "s": {"build.shuffled": True}, "d": {"build.parts": ["appearance"]}})
    assert [variant.name for variant in words.values()] == ["main", "shuffled", "appearance"]
    assert name_variants(RANKS, labels={"r4": "small"})["r4"].name == "small"


def test_settings_that_all_variants_share_are_no_difference():
    shared = {"evaluation.answering": ["direct"]}
    named = name_variants({"a": shared, "a+s": {**shared, "build.shuffled": True}})
    assert named["a"].reference
    assert named["a+s"].settings == {"build.shuffled": True}
    images = {"evaluation.ablation_images": ["blank"]}
    named = name_variants({"main": images, "evaluation.ablation_images=blank": images})
    assert {variant.name for variant in named.values()} == {"main"}  # two steps of one run


def grid_rows() -> pd.DataFrame:
    """Type 1: right in 5 of 5 in the reference, in none of 5 when shuffled; type 2: all right."""
    return frame(answers("1" * 10), answers("01" * 5, variant="build.shuffled=True"), answers("10" * 5, mode="base"))


def shuffled() -> dict:
    return name_variants({"main": {}, "build.shuffled=True": {"build.shuffled": True}})


def resources(tmp_path, **variants) -> pd.DataFrame:
    names = {"main": "main", "shuffled": "build.shuffled=True"}
    files = [resources_file(tmp_path / name, variant=names[name], seconds=s) for name, s in variants.items()]
    return read_resources(files, variant=None)


def test_a_grid_compares_each_variant_with_the_reference(tmp_path):
    seconds = resources(tmp_path, main=30.0, shuffled=40.0)
    table = grid_table(grid_rows(), seconds, read_retention([]), shuffled())
    assert table[["mode", "variant", "type1", "type2"]].to_numpy().tolist() == [
        ["base", "main", 100, 0],
        ["text_only", "main", 100, 100],
        ["text_only", "shuffled", 0, 100],
    ]
    last = table.iloc[2]
    assert last[["type1_difference", "type1_difference_low", "type1_difference_high"]].tolist() == [-100] * 3
    assert last["type1_p"] == 2 / 2**5
    assert last["type1_p_holm"] == 2 * 2 / 2**5  # two types, two tests
    assert last[["type2_difference", "type2_p"]].tolist() == [0, 1]
    assert table["train_seconds"].tolist()[1:] == [30, 40]
    assert pd.isna(table["train_seconds"].iloc[0])
    assert table["type1_difference"].isna().tolist() == [True, True, False]


def test_the_reading_of_a_grid_names_what_is_clear_and_nothing_else(tmp_path):
    table = grid_table(grid_rows(), resources(tmp_path), read_retention([]), shuffled())
    said = grid_reading(table)
    assert said.startswith(
        "Differences from “main” (variant) whose 95 % interval excludes zero: 1 of 2, 0 of them with p < 0.05"
    )
    assert "shuffled (text only, Type 1) -100.0 [-100.0, -100.0]" in said
    assert "Type 2" not in said
    assert grid_reading(table[table["mode"] == "base"]).startswith("No variant could be compared")


def test_phases_are_one_row_per_run_and_phase_and_none_where_records_tell_none_apart(tmp_path):
    both = resources(tmp_path, main=10, shuffled=20).assign(
        phases=[{"train": {"seconds": 9.0}, "save": {"seconds": 1.0}}, None]
    )
    table = phases_table(both)
    assert list(table) == ["model", "domain", "mode", "seed", "phase", "seconds"]
    assert table[["phase", "seconds"]].to_numpy().tolist() == [["train", 9.0], ["save", 1.0]]
    assert phases_table(both.drop(columns="phases")).empty


def test_the_reading_of_a_grid_says_what_it_could_not_have_shown(tmp_path):
    """40 questions of a type: five that only the one, and five that only the other variant gets right."""
    rows = frame(answers("0" * 10 + "1" * 70), answers("1" * 10 + "0" * 10 + "1" * 60, variant="build.shuffled=True"))
    said = grid_reading(grid_table(rows, resources(tmp_path), read_retention([]), shuffled()))
    assert said.startswith(
        "Differences from “main” (variant) whose 95 % interval excludes zero: 0 of 2. The others are "
    )
    assert said.endswith("the power to detect a true difference is below 80 % for differences below 22 points.")


def test_a_grid_of_pictures_compares_them_with_the_picture_shown(tmp_path):
    rows = frame(answers("1" * 10), answers("0" * 10, image="blank", variant="evaluation.ablation_images=blank"))
    keys = {"main": {}, "evaluation.ablation_images=blank": {"evaluation.ablation_images": ["blank"]}}
    same = {key: {"evaluation.ablation_images": ["blank"]} for key in keys}
    table = grid_table(rows, resources(tmp_path), read_retention([]), name_variants(same))
    assert table[["image", "type1_difference"]].astype(object).fillna("").to_numpy().tolist() == [
        ["with", ""],
        ["blank", -100],
    ]
    assert "“with” (image)" in grid_reading(table)


def test_variants_that_differ_only_in_their_questions_share_a_training(tmp_path):
    key = "data.distractors=look_alike"
    rows = frame(answers("10"), answers("10", variant=key))
    named = name_variants({"main": {}, key: {"data.distractors": "look_alike"}})
    table = grid_table(rows, resources(tmp_path, main=30.0), read_retention([]), named)
    assert table["train_seconds"].tolist() == [30, 30]


def test_a_hybrid_without_pictures_took_the_time_of_text_only(tmp_path):
    key = "build.hybrid_share=0.0"
    rows = frame(answers("10", mode="hybrid", variant=key))
    named = name_variants({key: {"build.hybrid_share": 0.0}})
    table = grid_table(rows, resources(tmp_path, main=30.0), read_retention([]), named)
    assert table[["mode", "train_seconds"]].to_numpy().tolist() == [["hybrid", 30]]


def test_a_grid_says_what_each_training_saw_in_how_many_steps(tmp_path):
    seen = {"joint": (300, 400, 50.0), "hybrid": (300, 267, 25.1)}  # steps, samples, per cent with an image
    rows = frame(*(answers("10", mode=mode) for mode in ("text_only", *seen)))
    files = [resources_file(tmp_path / "text_only")]  # an older record, without these numbers
    for mode, (steps, samples, images) in seen.items():
        numbers = {"steps": steps, "different_samples": samples, "image_percent": images}
        files.append(resources_file(tmp_path / mode, mode=mode, **numbers))
    table = grid_table(rows, read_resources(files, variant=None), read_retention([]), name_variants({"main": {}}))
    told = table.set_index("mode")[["train_steps", "train_samples", "train_image_percent"]]
    assert told.loc["text_only"].isna().all()
    assert {mode: tuple(told.loc[mode]) for mode in seen} == seen


def test_a_grid_bears_unknown_variants_facets_and_a_missing_reference(tmp_path):
    rows = frame(answers("1010", variant="a", category="wing"), answers("1111", variant="b", category="border"))
    table = grid_table(rows, resources(tmp_path), read_retention([]), {}, facets=["category"])
    assert table[["variant", "category"]].to_numpy().tolist() == [["a", "wing"], ["b", "border"]]
    assert table["type1_difference"].isna().all()


def test_old_abilities_stand_beside_the_variants_that_kept_or_lost_them(tmp_path):
    run = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": 0}
    kept = answers("1110", category="visual", protocol="letter")
    kept += answers("0000", category="visual")  # by another protocol; the first counts
    retention = read_retention([write_rows(tmp_path / "retention_answers.jsonl", kept)])
    table = grid_table(grid_rows(), resources(tmp_path), retention, shuffled())
    assert table.set_index(["mode", "variant"]).loc[("text_only", "main"), "retention_visual"] == 75
    assert table["retention_visual"].notna().sum() == 1
    with pytest.raises(ValueError, match=r"bad\.jsonl:1: image: Field required"):
        read_retention([write_rows(tmp_path / "bad.jsonl", [run])])
