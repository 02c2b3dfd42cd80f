"""The audit of a data set before training: what would make its test worthless, or easier than it seems.

- *Leaks.* A test image in the training set is an error: an exact copy always, a similar one (by perceptual hash) if the
  training images have a different source than the test's. Questions that occur in the training text, exactly or nearly,
  and answers that it gives away, are counted and shown, but are no error. What they mean depends on the data set:
  "Which butterfly is this?" gives nothing away, and many species live in forests. The same holds for test prompts that
  equal a training prompt: with the same image or description, the answer could then be learned by heart. A look that
  holds the class's name makes a sample whose prompt gives its answer; where only a dictionary could tell whether it
  does, it is counted as possible.
- *Blind baselines.* The score of someone who sees neither image nor question.

Samples are read once and images are opened one at a time, so memory does not grow with either.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from helpers.config.prompts import EvaluationPrompts, evaluation_prompts, of_domain
from helpers.datasets.build import sentences
from helpers.domains.names import find_names
from helpers.images import NEAR, distance, is_near, perceptual_hash
from helpers.schemas import ClassText, Question, Sample
from helpers.workflow.provenance import sha256

ALIKE = 90  # percent similarity of two sentences, after sorting their words
EXAMPLES = 10  # shown per finding; the rest are only counted
_GROUP = 500  # samples held at once
FOLDS = 5
ENOUGH = 20  # questions, for the learned baseline


def audit(
    questions: Iterable[Question],
    samples: Iterable[Sample],
    folder: str | Path,
    near: int = NEAR,
    outside: bool = False,
    texts: Iterable[ClassText] = (),
    asking: EvaluationPrompts | None = None,
) -> dict[str, Any]:
    """Counts, leaks and blind baselines; ``folder`` holds the images of both. Accuracies are in percent.

    ``outside``: the training images have a different source than the test's (the web, your own), so it is an error if
    one looks like a test image (at most ``near`` of 64 bits apart). Drawn images of a class look alike by design: such
    pairs are only counted, and ten of them shown. Mirrored copies and small crops are not detected.

    ``texts``: of the classes; the first wording's look is what the test shows in words. They are read more than once.
    ``asking``: the test's prompts, by default those in `data/prompts/evaluation.yaml`.

    Raises ``ValueError`` for an image that is in both test and training.
    """
    asked, folder = list(questions), Path(folder)
    appearances = {text.class_id: text.appearance for text in texts if text.wording == 0}
    training = _Training(asked, prompts_of_test(asked, appearances, asking or evaluation_prompts()))
    rest = iter(samples)
    while group := list(islice(rest, _GROUP)):
        training.add(group)
    shown = {image: None for question in asked for image in question.images}
    _refuse_copies(folder, list(shown), training.images)
    pairs = near_images(folder, list(shown), sorted(training.images), near)
    if outside and pairs:
        raise ValueError(
            f"{len(pairs)} training image(s) look like a test image (at most {near} of 64 bits apart): "
            f"{', '.join(pairs[:EXAMPLES])}; remove them"
        )
    return {
        "samples": training.count,
        "samples_by_direction": dict(training.directions),
        "training_classes": len(training.classes),
        "training_images": len(training.images),
        "questions": len(asked),
        "test_images": len(shown),
        "question_texts_in_training": sorted(training.verbatim),
        "near_question_texts": _shown([f"{q} ~ {s} ({n})" for q, (n, s) in sorted(training.alike.items())]),
        "prompts_equal_to_training": _shown(sorted(training.equal)),
        "questions_with_their_answer": _shown(sorted(training.answered)),
        "answers_in_other_classes": _shown(_elsewhere(asked, training.places)),
        **names_in_appearances(texts),
        "near_images": {"distance": near, **_shown(pairs)},
        **{f"type{kind}": blind([q for q in asked if q.question_type == kind]) for kind in (1, 2)},
    }


def _shown(found: Sequence[str]) -> dict[str, Any]:
    return {"count": len(found), "examples": list(found[:EXAMPLES])}


# ---- words ---------------------------------------------------------------------------------------------------------


@dataclass
class _Training:
    """What has been found in the samples so far."""

    questions: list[Question]
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # test prompt -> ids of its questions
    count: int = 0
    directions: Counter[str] = field(default_factory=Counter)
    classes: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    verbatim: set[str] = field(default_factory=set)  # texts of questions
    alike: dict[str, tuple[int, str]] = field(default_factory=dict)  # text of a question -> percent, training sentence
    equal: set[str] = field(default_factory=set)  # ids of questions whose prompt equals a training prompt
    answered: set[str] = field(default_factory=set)  # ids of questions that a sample asks and answers
    places: dict[str, set[str]] = field(default_factory=dict)  # full right answer -> up to two classes that state it

    def __post_init__(self) -> None:
        self.texts = list(dict.fromkeys(question.question for question in self.questions))
        self.sorted_texts = [_sorted_words(text) for text in self.texts]
        self.answers = list(dict.fromkeys(map(_right_sentence, self.questions)))
        self.seen: set[int] = set()  # hashes of compared sentences; emptied before it grows large

    def add(self, group: Sequence[Sample]) -> None:
        self.count += len(group)
        self.directions.update(sample.direction for sample in group)
        self.classes.update(sample.class_id for sample in group)
        self.images.update(image for sample in group for image in sample.images)
        self.equal.update(name for sample in group for name in self.prompts.get(sample.texts[0], ()))
        self._add_questions(group)
        self._add_near([sentence for sample in group for text in sample.texts for sentence in sentences(text)])
        self._add_answers(group)

    def _add_questions(self, group: Sequence[Sample]) -> None:
        everything = "\n".join(text for sample in group for text in sample.texts)
        present = {text for text in self.texts if text in everything}
        self.verbatim |= present
        for question in (question for question in self.questions if question.question in present):
            if any(question.question in s.texts[0] and question.right_option in s.texts[1] for s in group):
                self.answered.add(question.question_id)

    def _add_near(self, found: Iterable[str]) -> None:
        from rapidfuzz import fuzz, process

        if len(self.seen) > 100_000:
            self.seen.clear()
        new = [sentence for sentence in dict.fromkeys(found) if hash(sentence) not in self.seen]
        self.seen.update(map(hash, new))
        if not new or not self.texts:
            return
        words = [_sorted_words(sentence) for sentence in new]
        alike = process.cdist(self.sorted_texts, words, scorer=fuzz.ratio, score_cutoff=ALIKE, dtype="uint8", workers=1)
        for row, column in zip(*alike.nonzero(), strict=True):
            text, pair = self.texts[row], (int(alike[row, column]), new[column])
            self.alike[text] = max(self.alike.get(text, (0, "")), pair)

    def _add_answers(self, group: Sequence[Sample]) -> None:
        spoken: dict[str, list[str]] = {}
        for sample in group:
            spoken.setdefault(sample.class_id, []).extend(sample.texts)
        said = {class_id: "\n".join(texts) for class_id, texts in spoken.items()}
        for answer in self.answers:
            places = self.places.setdefault(answer, set())
            for class_id, words in said.items():
                if len(places) < 2 and class_id not in places and any(m.certain for m in find_names(words, answer)):
                    places.add(class_id)


def names_in_appearances(texts: Iterable[ClassText]) -> dict[str, Any]:
    """Looks that hold the name of their class, and those that possibly do, with the words in question."""
    names = list(dict.fromkeys(text.name for text in texts))
    found: dict[bool, list[str]] = {True: [], False: []}
    for text in texts:
        for mention in find_names(text.appearance, text.name, names, small=False):
            found[mention.certain].append(f"{text.key}: {mention.around}")
    return {"names_in_looks": _shown(found[True]), "possible_names_in_looks": _shown(found[False])}


def prompts_of_test(
    questions: Iterable[Question], appearances: Mapping[str, str], asking: EvaluationPrompts
) -> dict[str, list[str]]:
    """The texts of the test's prompts, each with the ids of its questions.

    A question is asked alone or after its class's look, each with and without its options, in their own order; Type 2
    also asks for the name after that look. What a model writes before it is asked is not known yet.
    """
    found: dict[str, list[str]] = {}
    for question in questions:
        alone = [question.question]
        if appearance := appearances.get(question.class_id or ""):
            alone.append(asking.about(appearance, question.question))
            if question.question_type == 2:
                alone.append(asking.about(appearance, of_domain(asking.naming, question.domain)))
        listed = [asking.with_letters(text, question.options) for text in alone]
        for text in dict.fromkeys([*alone, *listed]):
            found.setdefault(text, []).append(question.question_id)
    return found


def _right_sentence(question: Question) -> str:
    return question.sentences()[question.answer]


def _sorted_words(text: str) -> str:
    return " ".join(sorted(re.findall(r"\w+", text.casefold())))


def _elsewhere(questions: Iterable[Question], places: dict[str, set[str]]) -> list[str]:
    """Questions whose full right answer occurs in a training text of another class."""
    found = []
    for question in questions:
        answer = _right_sentence(question)
        if others := sorted(places.get(answer, set()) - {question.class_id}):
            found.append(f"{question.question_id}: {answer} ({others[0]})")
    return found


# ---- images --------------------------------------------------------------------------------------------------------


def _refuse_copies(folder: Path, shown: Sequence[str], trained: Iterable[str]) -> None:
    tests = {sha256(folder / name): name for name in shown}
    copies = {name: tests.get(sha256(folder / name)) for name in sorted(trained)}
    if leaked := [f"{test} = {name}" for name, test in copies.items() if test]:
        raise ValueError(f"{len(leaked)} test image(s) used in training: {', '.join(leaked)}; remove them")


def near_images(folder: Path, shown: Iterable[str], trained: Sequence[str], near: int) -> list[str]:
    """Pairs of a test and a training image, as "test ~ training (bits)", the nearest first."""
    if not trained:
        return []  # nothing to compare with: the images are not even opened
    tests = {name: perceptual_hash(folder / name) for name in shown}
    pairs: list[tuple[int, str, str]] = []
    for name in trained:
        own = perceptual_hash(folder / name)
        pairs += [(distance(own, other), test, name) for test, other in tests.items() if is_near(own, other, near)]
    return [f"{test} ~ {name} ({bits})" for bits, test, name in sorted(pairs)]


def blind(questions: Sequence[Question]) -> dict[str, Any]:
    """The positions of the right answers, and the scores of someone who sees neither image nor question.

    ``positions_p``: p-value of Pearson's chi-square test that right answers are spread evenly over the positions.
    """
    frequency = Counter(option for question in questions for option in question.options)
    positions = [sum(q.answer == place for q in questions) for place in range(4)]
    return {
        "questions": len(questions),
        "answer_positions": positions,
        "positions_p": _evenness(positions),
        "longest_option": _accuracy(questions, [[len(option) for option in q.options] for q in questions]),
        "most_frequent_option": _accuracy(questions, [[frequency[o] for o in q.options] for q in questions]),
        "option_words": _accuracy(questions, option_scores(questions)) if len(questions) >= ENOUGH else None,
    }


def _evenness(counts: Sequence[int]) -> float | None:
    from scipy.stats import chisquare

    return round(float(chisquare(counts).pvalue), 4) if sum(counts) else None


def _accuracy(questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> float | None:
    """Accuracy, in percent, of always choosing the highest score; ties count as a random choice, in expectation."""
    if not questions:
        return None
    hits = [(s[q.answer] == max(s)) / list(s).count(max(s)) for q, s in zip(questions, scores, strict=True)]
    return round(100 * sum(hits) / len(hits), 1)


def option_scores(questions: Sequence[Question]) -> list[list[float]]:
    """How likely each option is to be right, by a logistic regression on the options' words in other questions.

    Five-fold cross-validation by question: no question is scored by a model that saw it. Since its own question is left
    out, an option that is right as often as chance seems right slightly less often, so somewhat below 25 percent means
    nothing. Well above 25 percent means that the options alone give answers away.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline

    scores: list[list[float]] = [[] for _ in questions]
    for known, asked in KFold(FOLDS, shuffle=True, random_state=0).split(questions):
        words = CountVectorizer(binary=True, token_pattern=r"\w+|[^\w\s]")
        model = make_pipeline(words, LogisticRegression(max_iter=1000))
        learned = [questions[i] for i in known]
        model.fit([o for q in learned for o in q.options], [n == q.answer for q in learned for n in range(4)])
        for i in asked:
            scores[i] = [round(float(s), 9) for s in model.decision_function(questions[i].options)]
    return scores
