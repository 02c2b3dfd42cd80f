"""What training and test ask is data: a file that does not fit is refused; a changed one changes its own wording."""

import pytest
import yaml

from helpers.config.profiles import SettingsError
from helpers.config.prompts import (
    PROMPT_FOLDER,
    evaluation_prompts,
    of_domain,
    prompt_path,
    read_prompts,
    training_prompts,
)
from helpers.datasets.audit import audit
from helpers.datasets.build import build_samples, transcript
from helpers.evaluation.strategies import Exam, Words, scored_prompts
from helpers.schemas import ClassText
from helpers.synthetic import language as say
from helpers.writer.prompts import WriterPrompt

DOMAINS = [*say.NAMING, "generic", "a domain of one's own"]
READERS = {"training": training_prompts, "evaluation": evaluation_prompts}


@pytest.fixture
def changed(tmp_path):
    """Writes a copy of a shipped file with some fields replaced, and gives its path."""

    def write(name, **fields):
        content = yaml.safe_load((PROMPT_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**content, **fields}, allow_unicode=True), encoding="utf-8")
        return str(path)

    return write


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field", "value", "rule"),
    [
        ("training", "telling", ["Tell me."], r"telling\.0 = 'Tell me\.': lacks \{name\}; it must hold \{name\}"),
        ("training", "telling", [], "telling = .*at least 1 item"),
        ("training", "telling", ["{name}, that is {name}?"], r"must hold \{name\}, and no other braces"),
        ("training", "named", "This is it.", r"named = 'This is it\.': lacks \{name\}"),
        ("training", "named", "This is {name!r}.", r"lacks \{name\}"),
        ("training", "described", "{description}", r"lacks \{question\}; it must hold \{description\}, \{question\}"),
        ("training", "naming", {"generic": ["Is it {name}?"]}, r"naming\.generic\.0 .*no place to fill"),
        ("training", "naming", {"butterfly": ["What?"]}, "lacks generic, which serves every domain"),
        ("training", "naming", {"generic": ["What? "]}, "neither begins nor ends with a space"),
        ("training", "namings", {}, "namings: unknown; the fields here are version, kind, telling, naming"),
        ("training", "kind", "evaluation", "kind = 'evaluation': Input should be 'training'"),
        ("training", "version", 0, "version = 0: Input should be greater than 0"),
        ("evaluation", "lettered", "{question} {letters}", r"lacks \{options\}"),
        ("evaluation", "option", "{option}", r"lacks \{letter\}"),
        ("evaluation", "named", "{name}: {question}", r"lacks \{description\}"),
        ("evaluation", "describing", {"culture": "Describe it."}, "lacks generic"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_field_and_rule(name, field, value, rule, changed):
    with pytest.raises(SettingsError, match=rf"{name}\.yaml is not a usable prompt:\n(.*\n)*.*{rule}"):
        READERS[name](changed(name, **{field: value}))


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(SettingsError, match=r"butterfly\.yaml is not a usable prompt:\n  kind = 'text'.*'training'"):
        training_prompts("butterfly")
    with pytest.raises(SettingsError, match=r"training\.yaml is not a usable prompt:\n  kind = 'training'.*'text' or"):
        read_prompts("training", WriterPrompt)


def test_a_name_is_of_the_folder_and_a_path_is_from_the_root(tmp_path):
    assert prompt_path("training") == prompt_path("data/prompts/training.yaml") == PROMPT_FOLDER / "training.yaml"
    with pytest.raises(SettingsError, match=r"unknown prompt 'mine/none\.yaml'; found in prompts/.*path from the repo"):
        prompt_path("mine/none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: \xe9")
    with pytest.raises(SettingsError, match=r"latin\.yaml is not a usable prompt: .*utf-8"):
        training_prompts(str(tmp_path / "latin.yaml"))


# ---- held-out wordings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_held_out_wording_is_never_a_training_wording(domain):
    training = training_prompts()
    trained = {*of_domain(training.naming, domain), *training.telling}
    assert not trained & set(training.held_out.get(domain, []))


@pytest.mark.parametrize("domain", say.NAMING)
def test_the_test_of_a_drawn_domain_asks_in_held_out_wordings_that_the_base_models_were_never_taught(domain):
    training, asking = training_prompts(), evaluation_prompts()
    held_out = training.held_out[domain]
    assert {asking.naming[domain], asking.describing[domain]} == set(held_out)
    assert held_out == [say.NAMING[domain].asked[say.HELD_OUT], say.DESCRIBING[domain][say.HELD_OUT]]
    taught = [say.NAMING[domain].asked[i] for i in say.training_wordings(say.NAMING[domain].asked)]
    assert training.naming[domain] == taught
    assert training.telling == [words.format(s="{name}") for words in say.TELLING_BY_NAME]


def test_a_held_out_wording_that_is_trained_is_refused(changed):
    held_out = {"butterfly": ["Name this species."]}
    with pytest.raises(SettingsError, match=r"held_out\.butterfly repeats a training wording: \['Name this spec"):
        training_prompts(changed("training", held_out=held_out))
    with pytest.raises(SettingsError, match=r"held_out\.birds repeats a training wording: \['Name this\.'\]"):
        training_prompts(changed("training", held_out={"birds": ["Name this."]}))  # birds train in the generic wordings


# ---- what a changed file changes -------------------------------------------------------------------------------------


def test_a_changed_wording_changes_the_samples_that_use_it_and_nothing_else(butterflies, build, changed):
    telling = ["Now, {name}?", *training_prompts().telling[1:]]
    settings = build.model_copy(update={"prompts": changed("training", telling=telling, version=2)})
    for mode, before in butterflies.samples.items():
        after = list(build_samples(butterflies.texts, mode, settings))
        apart = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert [new.texts[0] for _, new in apart] == [f"Now, {text.name}?" for text in butterflies.texts[::3]]
        for old, new in apart:
            assert new.texts[1] == old.texts[1]
            assert new.model_dump(exclude={"messages"}) == old.model_dump(exclude={"messages"})


def test_forms_and_a_domain_of_ones_own_come_from_the_file(build, changed):
    naming = {"birds": ["Which bird?"], "generic": ["What?"]}
    fields = {"naming": naming, "described": "{question} <{description}>", "named": "It is {name}!"}
    settings = build.model_copy(
        update={"prompts": changed("training", **fields), "directions": ["description_to_name"]}
    )
    given = {"class_id": "a", "appearance": "Red.", "background": "Old.", "wording": 0, "writer": "own", "image": None}
    texts = [ClassText(name="A", domain=domain, **given) for domain in ("birds", "fish")]
    samples = list(build_samples(texts, "text_only", settings))
    assert [sample.texts for sample in samples] == [
        ["Which bird? <Red.>", "It is A! Old."],
        ["What? <Red.>", "It is A! Old."],
    ]


def test_the_test_s_forms_come_from_the_file(butterflies, changed):
    fields = {
        "lettered": "{options}\n{question}",
        "option": "({letter}) {option}",
        "described": "{question} <{description}>",
    }
    asking = evaluation_prompts(changed("evaluation", **fields))
    [question, *_] = butterflies.questions
    question = question.model_copy(update={"described": "Red."})
    exam = Exam([question], butterflies.folder, prompts=asking)
    listed = "".join(f"({letter}) {option}\n" for letter, option in zip("ABCD", question.options, strict=True))
    [with_letters] = scored_prompts(exam, "with", "direct", "letter")
    assert with_letters.text == listed + question.question
    assert with_letters.image.path == butterflies.folder / question.image
    assert [p.text for p in scored_prompts(exam, "described", "direct", "option_likelihood")] == [
        f"{question.question} <Red.>"
    ]
    words = [Words("It is blue.")]
    assert [p.text for p in scored_prompts(exam, "with", "describe_then_answer", "option_likelihood", words)] == [
        f"{question.question} <It is blue.>"
    ]


def test_in_a_chain_the_answer_repeats_the_description_before_it_names(butterflies, build):
    settings = build.model_copy(update={"prompts": "training_chain"})
    text, usual = butterflies.texts[0], butterflies.samples["text_only"]
    told, named = list(build_samples([text], "text_only", settings))
    assert told == usual[0]
    assert named.texts == [usual[1].texts[0], f"{text.appearance} {usual[1].texts[1]}"]
    seen = list(build_samples([text], "image_text", settings))[1]
    assert seen.texts == [butterflies.samples["image_text"][1].texts[0], named.texts[1]]


def test_a_transcript_shows_who_says_what_and_where_the_picture_stands(butterflies):
    told, asked = butterflies.samples["image_text"][:2]
    prompt, answer = asked.texts
    assert transcript(asked) == f"user: [{asked.images[0]}]\n{prompt}\n\nassistant: {answer}"
    assert transcript(told).startswith(f"user: [{told.images[0]}]\nTell me about {butterflies.texts[0].name}.")


# ---- the audit -------------------------------------------------------------------------------------------------------


def test_prompts_of_the_test_that_are_training_prompts_are_counted(butterflies, build, changed):
    questions = [q for q in butterflies.questions if q.question_type == 1 and q.split == "test"]
    texts = butterflies.texts

    def equal(samples, **given):
        return audit(questions, samples, butterflies.folder, **given)["prompts_equal_to_training"]["count"]

    assert [equal(rows, texts=texts) for rows in butterflies.samples.values()] == [0, 0]
    naming = {"butterfly": [questions[0].question], "generic": ["What?"]}
    spoiled = changed("training", naming=naming, held_out={})
    settings = build.model_copy(update={"prompts": spoiled})
    text_only, image_text = (list(build_samples(texts, mode, settings)) for mode in butterflies.samples)
    assert equal(image_text) == len(questions) == 8  # the question alone, beside a picture
    assert equal(text_only) == 0
    assert equal(text_only, texts=texts) == 8  # the question behind the class's look
    asking = evaluation_prompts(changed("evaluation", described="{question}\n{description}"))
    assert equal(text_only, texts=texts, asking=asking) == 0
