"""One's own images: the tuned model beside the untuned one, and clear errors before any model is loaded."""

import json
import shutil
from math import exp, log
from pathlib import Path

import pytest
from PIL import Image

from helpers.config.evaluation import Evaluation
from helpers.config.prompts import evaluation_prompts
from helpers.config.training import Training
from helpers.evaluation import ask
from helpers.evaluation.ask import (
    FROM_WORDS,
    TUNED,
    UNTUNED,
    Impression,
    account,
    adapter_of_run,
    as_classes,
    asking_of,
    check_images,
    impressions,
    read_options,
    shares,
)
from helpers.paths import ADAPTER, DATA, Layout
from helpers.schemas import write_questions
from helpers.workflow.run_layout import OldRunError

QWEN = DATA / "models" / "tiny-qwen2-vl"
NAMES = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": "0"}


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (56, 56), "orange").save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


def train(run, base="data/models/tiny-qwen2-vl", **names):
    """A stand-in for an adapter, without weights: enough until a model is loaded."""
    folder = Layout(run).folder("training", **{**NAMES, **names}) / "adapter"
    folder.mkdir(parents=True)
    (folder / ADAPTER[0]).write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / ADAPTER[1]).touch()
    return folder


def give_data(run, butterflies, variant="main"):
    """The data set of eight drawn butterflies, in the place where a run keeps it."""
    file = Layout(run).file("dataset", "questions.jsonl", domain="butterfly", variant=variant)
    shutil.copytree(butterflies.folder, file.parent, dirs_exist_ok=True)
    write_questions(file, butterflies.questions)


@pytest.fixture
def run(tmp_path, butterflies):
    give_data(tmp_path / "run", butterflies)
    train(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def no_model(monkeypatch):
    """Nothing may be loaded."""
    monkeypatch.setattr("helpers.evaluation.run.load_reader", lambda *_: pytest.fail("a model was loaded"))


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_certainties_are_shares_of_the_likelihood():
    assert shares([0.0, log(3)]) == pytest.approx([0.25, 0.75])
    assert shares([-1000.0, -1000.0]) == [0.5, 0.5]


def test_the_likeliest_names_come_first_and_of_equal_ones_the_one_offered_first():
    seen = Impression("", {"Gat": 0.2, "Kimchi": 0.6, "Onggi": 0.2})
    assert seen.likeliest(3) == ["Kimchi 60 %", "Gat 20 %", "Onggi 20 %"]


def test_one_image_has_its_likeliest_names_and_several_a_row_each():
    kimchi, gat = Impression("red", {"Kimchi": 0.75, "갓": 0.25}), Impression("black", {"Kimchi": 0.1, "갓": 0.9})
    assert account(["a.png"], {UNTUNED: [gat], TUNED: [kimchi]}).splitlines() == [
        "    untuned      tuned",
        "1.  갓 90 %      Kimchi 75 %",
        "2.  Kimchi 10 %  갓 25 %",
        "",
        "a.png",
        "  untuned  black",
        "  tuned    red",
    ]
    several = account(["a.png", "b.png"], {UNTUNED: [gat, gat], TUNED: [kimchi, gat], FROM_WORDS: [gat, kimchi]})
    assert several.splitlines()[:3] == [
        "       untuned  tuned        tuned, from words",
        "a.png  갓 90 %  Kimchi 75 %  갓 90 %",
        "b.png  갓 90 %  갓 90 %      Kimchi 75 %",
    ]


def test_options_are_spelt_as_the_run_spells_its_classes_and_strangers_are_named():
    assert as_classes(["the monarch", "Pizza"], ["Monarch", "Adonis"]) == (["Monarch", "Pizza"], ["Pizza"])
    with pytest.raises(ValueError, match="names Monarch twice"):
        as_classes(["the Monarch", "monarch"], ["Monarch"])


# ---- what is refused, before a model is loaded -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "Monarch", "Monarch,", "Monarch, monarch", "A,,B"])
def test_options_are_two_different_names_or_more(text):
    with pytest.raises(ValueError, match=r"two or more different names with commas between"):
        read_options(text)


def test_options_hold_no_mark_of_a_chat():
    with pytest.raises(ValueError, match=r"'<\|im_end\|>', which a model takes for a mark"):
        read_options("Monarch, <|im_end|>")


def test_every_image_that_cannot_be_used_is_named(tmp_path, image):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"2 image\(s\) cannot be used") as error:
        check_images([str(image), str(tmp_path / "none.png"), str(tmp_path / "text.png")])
    assert "none.png does not exist" in str(error.value)
    assert "text.png: not a readable image" in str(error.value)


def test_a_relative_image_counts_from_where_one_stands(image, monkeypatch):
    monkeypatch.chdir(image.parent)
    assert check_images(["mine.png"]) == [image]


def test_without_a_run_the_error_says_what_to_run_first(image, tmp_path, no_model, capsys):
    assert ask.main([str(image), "--run", str(tmp_path / "nothing")]) == 2
    assert "nothing has no trained adapter; run ./run_all.sh first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("demo", "./run_all.sh"),
        ("demo+training.epochs=3", "./run_all.sh"),
        ("own", "./run_all.sh own FOLDER"),
        ("paper", "./run_all.sh --profile paper"),
        ("whatever", "./run_all.sh"),
    ],
)
def test_what_to_run_first_follows_from_the_run(name, command, tmp_path, monkeypatch):
    monkeypatch.setattr(ask, "RUNS", tmp_path)
    monkeypatch.setattr("helpers.paths.RUNS", tmp_path)
    with pytest.raises(ValueError, match=rf"no trained adapter; run {command} first$"):
        adapter_of_run(tmp_path / name, {})


def test_a_run_of_an_older_version_is_refused(run):
    (run / ".layout").write_text("2\n")
    for find in (lambda: adapter_of_run(run, {}), lambda: asking_of(train(run, seed="1"))):
        with pytest.raises(OldRunError):
            find()


def test_what_the_run_has_no_adapter_of_is_refused_with_what_it_has(run):
    train(run, mode="image_text", seed="10")
    train(run, mode="image_text", seed="2")
    with pytest.raises(ValueError, match=r"--domain is 'birds'; .* has adapters of butterfly$"):
        adapter_of_run(run, {"domain": "birds"})
    with pytest.raises(ValueError, match=r"--seed is '0'; .* has adapters of 2, 10, with mode image_text$"):
        adapter_of_run(run, {"seed": "0", "mode": "image_text"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "nowhere"], "no adapter_config.json and no adapter_model.safetensors"),
        (["--adapter", ".", "--seed", "1"], "--adapter names one adapter, so --seed has no place beside it"),
        (["--options", "Monarch"], "--options is 'Monarch'"),
    ],
)
def test_what_is_wrong_with_the_command_is_said_before_a_model_is_loaded(arguments, message, image, no_model, capsys):
    assert ask.main([str(image), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_base_model_is_named(run):
    with pytest.raises(FileNotFoundError, match=r"its base model is data/models/gone, which is not on this machine"):
        asking_of(train(run, base="data/models/gone", seed="1"))


def test_without_classes_options_are_needed(tmp_path, image, no_model, capsys):
    adapter = train(tmp_path / "run")
    assert ask.main([str(image), "--adapter", str(adapter)]) == 2
    assert 'the classes of its run are not known; give --options "A, B, C, D"' in capsys.readouterr().err


# ---- which adapter, and how it is asked ------------------------------------------------------------------------------


def test_of_what_is_left_out_text_alone_the_main_variant_and_the_first_seed_are_taken(tmp_path):
    for mode, variant, seed in (
        ("image_text", "main", "0"),
        ("text_only", "main", "10"),
        ("text_only", "main", "2"),
        ("text_only", "training.lora_rank=4", "0"),
    ):
        train(tmp_path, mode=mode, variant=variant, seed=seed)
    expected = Layout(tmp_path).folder("training", **{**NAMES, "seed": "2"}) / "adapter"
    assert adapter_of_run(tmp_path, {}) == expected
    assert asking_of(expected).others == "--mode image_text; --seed 0, 10"


def test_models_and_domains_come_in_the_order_of_the_run_s_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(ask, "RUNS", tmp_path)
    monkeypatch.setattr("helpers.paths.RUNS", tmp_path)
    for model in ("llava_next", "qwen2_vl"):
        train(tmp_path / "demo+name", model=model)
    assert "qwen2_vl" in adapter_of_run(tmp_path / "demo+name", {}).parts


def test_a_run_s_model_is_asked_as_its_test_asks(run, butterflies):
    asking = asking_of(adapter_of_run(run, {}))
    assert (asking.domain, asking.form, asking.base) == ("butterfly", "This is the {option}.", QWEN)
    assert len(asking.classes) == 8
    assert set(asking.classes) == {q.right_option for q in butterflies.questions if q.question_type == 1}


def test_a_training_of_another_variant_shares_the_data_set(run):
    assert len(asking_of(train(run, variant="training.lora_rank=4")).classes) == 8


def test_settings_are_those_of_the_run_s_evaluation_or_what_must_be_as_in_training(run):
    adapter = adapter_of_run(run, {})
    (adapter / "training.json").write_text(json.dumps({"dtype": "bfloat16", "max_pixels": 999, "batch_size": 1}))
    assert asking_of(adapter).settings == Evaluation(dtype="bfloat16", max_pixels=999)
    manifest = Layout(run).folder("evaluation", **NAMES) / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"parameters": {"answering": ["direct"], "max_new_tokens": 9, "split": "test"}}))
    assert asking_of(adapter).settings == Evaluation(answering=["direct"], max_new_tokens=9)


def test_an_adapter_outside_of_a_run_is_asked_with_generic_prompts(tmp_path):
    adapter = shutil.copytree(train(tmp_path / "run"), tmp_path / "elsewhere")
    asking = asking_of(adapter)
    assert (asking.domain, asking.form, asking.classes, asking.others) == (None, "{option}", (), "")


# ---- with the shipped models -----------------------------------------------------------------------------------------


@pytest.fixture
def reader(tuned, model_path):
    from helpers.evaluation.reader import Reader
    from helpers.models.loading import load_processor

    return Reader(tuned[0], load_processor(model_path), 4, 8)


def test_the_untuned_model_the_tuned_one_and_the_tuned_one_on_words_each_say_what_they_see(reader, model_path, image):
    from helpers.evaluation.prompts import Prompt, Shown

    prompts, names = evaluation_prompts(), ["Monarch", "Adonis", "Peacock"]
    asking = ask.Asking(Path(), model_path, Evaluation(), prompts, "butterfly", "This is the {option}.")
    found = impressions(reader, asking, [image], names)
    assert list(found) == [UNTUNED, TUNED, FROM_WORDS]
    describing, naming = prompts.describing["butterfly"], prompts.naming["butterfly"]

    def expected(prompt):
        likelihoods = reader.likelihoods([prompt], [[f"This is the {name}." for name in names]], "names")[0]
        whole = sum(exp(each.total) for each in likelihoods)
        return {name: exp(each.total) / whole for name, each in zip(names, likelihoods, strict=True)}

    shown = Shown(image)
    with reader.untuned():
        words, untuned = reader.write([Prompt(describing, shown)], "")[0], expected(Prompt(naming, shown))
    assert found[UNTUNED] == [Impression(words, pytest.approx(untuned, abs=1e-4))]
    assert found[TUNED][0].certainties == pytest.approx(expected(Prompt(naming, shown)), abs=1e-4)
    about = expected(Prompt(f"{words}\n{naming}"))
    assert found[FROM_WORDS] == [Impression(words, pytest.approx(about, abs=1e-4))]
    assert found[TUNED][0].certainties != pytest.approx(untuned, rel=1e-2, abs=0)


def test_a_run_that_asks_directly_alone_is_not_asked_about_words(reader, model_path, image):
    settings = Evaluation(answering=["direct"])
    asking = ask.Asking(Path(), model_path, settings, evaluation_prompts())
    assert list(impressions(reader, asking, [image], ["Monarch", "Adonis"])) == [UNTUNED, TUNED]


def test_the_command_asks_a_trained_run_about_one_image_and_several(run, image, capsys):
    from helpers.models.adapters import add_lora
    from helpers.models.loading import load_model

    adapter = adapter_of_run(run, {})
    add_lora(*load_model(QWEN), 4, 8, 0.0, True, 0).save_pretrained(adapter)
    (adapter / "training.json").write_text(json.dumps(Training().model_dump()))
    assert ask.main([str(image), "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "all 8 classes of the run's domain, ranked by likelihood; the first 5 are shown" in said
    assert "The demo's tiny models know the drawn world only" in said
    ranks = [line.split()[0] for line in said.splitlines() if line[:1].isdigit()]
    assert ranks == ["1.", "2.", "3.", "4.", "5."]
    known = asking_of(adapter).classes[0]
    assert ask.main([str(image), str(image), "--adapter", str(adapter), "--options", f"{known.lower()}, Pizza"]) == 0
    said = capsys.readouterr().out
    assert "the 2 given, ranked by likelihood" in said
    assert "no class of this run, so no training text was about it: Pizza\n" in said
    assert (
        sum(line.startswith(f"{image}  {known} ") or line.startswith(f"{image}  Pizza ") for line in said.splitlines())
        == 2
    )
