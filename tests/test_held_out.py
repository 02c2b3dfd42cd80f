"""No prompt that is scored is one that a model was trained on: all classes of the demo, whatever it writes first."""

from itertools import islice
from types import SimpleNamespace

import pytest

from helpers.base_models.curriculum import Curriculum
from helpers.config.prompts import evaluation_prompts, of_domain, training_prompts
from helpers.datasets.build import build_samples
from helpers.domains import open_domain
from helpers.evaluation.strategies import ANSWERING, Exam, Words, naming_question, scored_prompts
from helpers.synthetic import language as say

EXERCISES = 4000  # of a base model's lessons: every kind, many times
IMAGES = ("with", "without", "described")
MODES = ("text_only", "image_text", "hybrid", "printed")


@pytest.fixture(scope="module", params=say.NAMING)
def demo(request, build, tmp_path_factory):
    """The demo's texts, test questions and training prompts of one domain; no image is drawn."""
    domain = open_domain(request.param, "drawn", None, None, 2, 224, 0, distractors="random")
    texts = domain.offline_texts(1)
    trained = {sample.texts[0] for mode in MODES for sample in build_samples(texts, mode, build)}
    questions = [q for q in [*domain.questions(), *domain.retention_questions()] if q.split != "dev"]
    return SimpleNamespace(
        domain=request.param, texts=texts, trained=trained, questions=questions, folder=tmp_path_factory.mktemp("demo")
    )


@pytest.fixture(scope="module")
def taught(demo):
    """Prompts from the lessons of the base models."""
    return {exercise.prompt for exercise in islice(Curriculum(0, (demo.domain,)), EXERCISES)}


def scored(demo):
    """Every prompt of the test, where the model's own words are, at worst, a training text and its name."""
    asking, by_class = evaluation_prompts(), {text.class_id: text for text in demo.texts}
    of_class = [q for q in demo.questions if q.class_id in by_class]
    appearances = {name: text.appearance for name, text in by_class.items()}
    exam = Exam(of_class, demo.folder, appearances=appearances, prompts=asking)
    words = [Words(by_class[q.class_id].appearance, by_class[q.class_id].name) for q in of_class]
    for protocol in ("option_likelihood", "letter"):
        for answering in ANSWERING:
            for image in IMAGES if answering == "direct" else ("with",):
                yield from (prompt.text for prompt in scored_prompts(exam, image, answering, protocol, words))
    yield from (asking.about(w.description, naming_question(q, asking)) for q, w in zip(of_class, words, strict=True))
    yield from (question.question for question in demo.questions)
    yield of_domain(asking.describing, demo.domain)


def test_no_scored_prompt_is_a_prompt_of_training_or_teaching(demo, taught):
    found = set(scored(demo))
    assert len(found) > 400
    assert not found & demo.trained
    assert not found & taught


def test_the_test_s_last_line_ends_no_prompt_of_training_or_teaching(demo, taught):
    """So it holds for any words before it, those too that a model will write."""
    asked = {prompt.rsplit("\n", 1)[-1] for prompt in scored(demo)}
    assert not asked & {prompt.rsplit("\n", 1)[-1] for prompt in demo.trained | taught}


def test_what_stands_before_the_question_may_be_the_description_of_a_training_prompt(demo):
    before = {prompt.rsplit("\n", 1)[0] for prompt in demo.trained if "\n" in prompt}
    assert {text.appearance for text in demo.texts} <= before


@pytest.mark.parametrize("domain", [*say.NAMING, "generic", "a domain of one's own"])
def test_what_the_test_asks_of_any_domain_is_held_out_of_its_training(domain):
    asking, training = evaluation_prompts(), training_prompts()
    wordings = {of_domain(asking.naming, domain), of_domain(asking.describing, domain)}
    assert not wordings & {*of_domain(training.naming, domain), *training.telling}
    assert wordings == set(of_domain(training.held_out, domain))
