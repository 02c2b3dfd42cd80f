"""What a model cannot read is known from its processor: special tokens in texts, samples that are too long."""

import json

import pytest
from PIL import Image

from helpers import paths
from helpers.config.profiles import load_profile
from helpers.config.prompts import TrainingPrompts, read_prompts
from helpers.domains.kviscuit import load_kviscuit
from helpers.images import open_image, shown_size
from helpers.models.batches import training_batch
from helpers.models.limits import Limits, check_questions, check_samples, limits_at_hand
from helpers.results import own_classes
from helpers.schemas import ClassText, ImagePart, Question, Sample, TextPart, exchange
from helpers.writer.checks import mark_faults

MODELS = ("tiny-qwen2-vl", "tiny-llava-next")


@pytest.fixture(scope="module", params=MODELS)
def limits(request):
    found = limits_at_hand(paths.DATA / "models" / request.param, 4096, None)
    assert found is not None
    return found


def sample(answer="It is round.", image=None, prompt="What is it?"):
    direction = "image_to_name" if image else "description_to_name"
    messages = exchange(prompt, answer, image)
    return Sample(id=f"a1/0/{direction}", domain="own", class_id="a1", direction=direction, messages=messages)


def unchecked(answer):
    """A sample as a file of an earlier version may hold it: its rows were not checked for marks."""
    good = sample()
    parts = [TextPart.model_construct(type="text", text=answer)]
    turn = good.messages[1].model_copy(update={"content": parts})
    return good.model_copy(update={"messages": [good.messages[0], turn]})


@pytest.mark.parametrize("size", [None, (56, 56), (113, 77), (400, 90), (31, 500), (611, 800)])
@pytest.mark.parametrize("max_pixels", [None, 20_000])
def test_the_length_is_that_of_the_training_batch(limits, tmp_path, size, max_pixels):
    image = open_image_of(tmp_path, size, max_pixels) if size else None
    one = sample("A 둥근 ¢ thing — ok.", "a.jpg" if size else None)
    counted = Limits(limits.processor, 4096, max_pixels).length(one, tmp_path)
    batch = training_batch(limits.processor, [[m.model_dump() for m in one.messages]], [image], 100_000)
    assert counted == batch["input_ids"].shape[1]


def open_image_of(folder, size, max_pixels):
    """A photograph as a telephone stores it: on its side, and turned by a tag."""
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", size, (9, 99, 200)).save(folder / "a.jpg", exif=tags)
    image = open_image(folder / "a.jpg", max_pixels)
    assert shown_size(folder / "a.jpg", max_pixels) == image.size
    return image


def test_special_tokens_are_those_of_the_processor(limits):
    assert {"<image>", "</s>"} <= set(limits.tokens) or {"<|image_pad|>", "<|im_end|>"} <= set(limits.tokens)


def test_the_smaller_of_setting_and_positions_holds(limits):
    assert (limits.longest, limits.reason) == (2048, "the model's positions")
    set_lower = Limits(limits.processor, 100, positions=2048)
    assert (set_lower.longest, set_lower.reason) == (100, "training.max_length")
    assert Limits(limits.processor, 5000).longest == 5000


def test_samples_that_are_too_long_are_named_with_their_class_and_length(limits, tmp_path):
    long = sample(("round " * 900).strip())
    length = limits.length(long, tmp_path)
    just, over = Limits(limits.processor, length), Limits(limits.processor, length - 1)
    check_samples(just, [sample(), long], tmp_path)
    said = (
        "1 sample\\(s\\) cannot be trained on; samples are never truncated:\n"
        f"  sample 'a1/0/description_to_name' of class 'a1' has {length} tokens; "
        f"at most {length - 1} \\(training.max_length\\) are allowed: shorten its text$"
    )
    with pytest.raises(ValueError, match=said):
        check_samples(over, [sample(), long], tmp_path)


def test_an_image_counts_and_the_remedy_says_so(limits, tmp_path):
    Image.new("RGB", (2000, 1500)).save(tmp_path / "a.png")
    one = sample(image="a.png")
    most = limits.length(one, tmp_path) - 1
    with pytest.raises(ValueError, match=rf"at most {most} .* shorten its text or lower training\.max_pixels"):
        check_samples(Limits(limits.processor, most), [one], tmp_path)


def test_a_special_token_is_found_in_rows_that_were_not_checked(limits, tmp_path):
    token = limits.tokens[-1]
    with pytest.raises(ValueError, match="a special token of the model"):
        check_samples(limits, [unchecked(f"It is {token} round.")], tmp_path)


def test_a_question_with_a_special_token_is_refused_before_it_is_asked(limits):
    good = question()
    check_questions(limits.processor, [good])
    bad = good.model_copy(update={"options": ["a", "b", "c", limits.tokens[0]]})
    with pytest.raises(ValueError, match=r"1 question\(s\) cannot be asked.*\n  question 'q1' holds"):
        check_questions(limits.processor, [good, bad])


def test_a_model_of_the_hub_that_is_not_here_has_no_known_limits():
    assert limits_at_hand("nobody/has-this-model", 4096, None) is None


# ---- every source's words pass one check -----------------------------------------------------------------------------


def question(**more):
    fields = {"domain": "own", "question_id": "q1", "question_type": 1, "category": "c", "class_id": None}
    fields |= {"question": "What?", "options": ["a", "b", "c", "d"], "answer": 0, "image": None, "split": "test"}
    return Question(**(fields | more))


def text(**more):
    fields = {
        "class_id": "a1",
        "name": "A",
        "domain": "own",
        "appearance": "Round.",
        "background": "Old.",
        "wording": 0,
    }
    return ClassText(**(fields | {"writer": "openai", "image": None} | more))


@pytest.mark.parametrize(
    "make",
    [
        lambda: question(question="<image>\nWhat?"),
        lambda: question(options=["a", "b", "c", "</s>"]),
        lambda: question(answer_form="<|im_end|> {option}"),
        lambda: question(answer_form="<{option}>", options=["a", "b", "image", "d"]),
        lambda: text(appearance="Round <|image_pad|> thing."),
        lambda: text(background="Old.<|im_end|>"),
        lambda: text(name="A <unk>"),
        lambda: TextPart(text="[INST] round [/INST]"),
    ],
)
def test_no_row_of_any_source_holds_a_mark(make):
    with pytest.raises(ValueError, match="which a model takes for a mark of its chat; delete it"):
        make()


def test_a_prompt_file_a_writers_reply_and_a_row_of_k_viscuit_are_no_exception(tmp_path):
    prompts = (paths.DATA / "prompts" / "training.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(prompts.replace("Tell me about", "<image> Tell me about"), encoding="utf-8")
    with pytest.raises(ValueError, match="holds '<image>'"):
        read_prompts(str(tmp_path / "mine.yaml"), TrainingPrompts)
    assert mark_faults("appearance", "Round and <|im_end|> red.") == [
        "appearance holds '<|im_end|>', a mark of a chat template; leave it out"
    ]
    assert mark_faults("appearance", "Round and red.") == []
    row = {"question": "<image> What?", "options": ["a", "b", "c", "d"], "answer": 0, "category": "Food", "id_": "1"}
    row |= {"question_type": 1, "image_url": "", "image_path": "a.jpg"}
    (tmp_path / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"annotations\.jsonl:1: question: holds '<image>', which a model takes"):
        load_kviscuit(tmp_path)


def test_an_image_in_a_message_is_a_part_and_no_mark():
    assert ImagePart(path="images/<image>.png").path == "images/<image>.png"


# ---- own folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rows = [("a1", "Alder", "red"), ("b2", "Birch", "blue"), ("c3", "Cedar", "green"), ("d4", "Dogwood", "white")]
    lines = [f"{class_id},{name},{colour}" for class_id, name, colour in rows]
    (tmp_path / "classes.csv").write_text("\n".join(["class_id,name,look:colour", *lines]), encoding="utf-8")
    for place, (class_id, *_) in enumerate(rows):
        for number, split in enumerate(("train", "test")):
            file = tmp_path / "pictures" / split / class_id / "0.png"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (56, 56), (50 * place, number, 0)).save(file)
    return tmp_path


def validated(folder, **changes):
    return own_classes.validate(folder, load_profile("own", {f"training.{name}": v for name, v in changes.items()}))


def test_validate_names_class_and_row_of_a_text_that_is_too_long(folder):
    korean = "이것은 둥글고 붉은 금속 조각이며 가장자리에 가는 홈이 많이 있다. " * 120
    (folder / "texts.csv").write_text(f"class_id,look,background\nb2,Long.,Old.\nc3,{korean.strip()},Old.\n")
    good, said = validated(folder)
    (line,) = [line for line in said.splitlines() if line.startswith("PROBLEM")]
    assert not good
    assert line.startswith("PROBLEM texts.csv:3: class 'c3', name_to_description: has ")
    assert "at most 2048 (the model's positions) are allowed: shorten its text (model qwen2_vl)" in line
    assert "(model llava_next)" in line


def test_validate_knows_a_limit_that_was_set(folder):
    good, said = validated(folder, max_length=24)
    assert not good
    assert "PROBLEM classes.csv:2: class 'a1', " in said
    assert "at most 24 (training.max_length)" in said
    assert validated(folder, max_length=300)[0]


def test_validate_knows_that_an_image_is_too_large_for_a_sample(folder):
    Image.new("RGB", (1600, 1600), "green").save(folder / "pictures" / "train" / "d4" / "0.png")
    good, said = validated(folder, max_length=60, max_pixels=80_000)
    assert not good and "with pictures/train/d4/0.png: has " in said and "lower training.max_pixels" in said


def test_validate_finds_the_special_tokens_of_the_profiles_models(folder):
    (folder / "texts.csv").write_text("class_id,look,background\nb2,Long <|video_pad|>.,Old.\n")
    good, said = validated(folder)
    assert not good and "PROBLEM texts.csv:2: look holds '<|video_pad|>'" in said


def test_validate_notes_a_model_that_it_cannot_look_into(folder):
    profile = load_profile("own")
    models = {"far": profile.models["qwen2_vl"].model_copy(update={"path": "nobody/has-this-model"})}
    good, said = own_classes.validate(folder, profile.model_copy(update={"models": models}))
    assert good and "NOTE    model far: nobody/has-this-model is not on this machine" in said
