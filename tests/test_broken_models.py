"""Models that are broken on purpose get exactly the score that they must, through the whole of the scoring.

Only the language model's layers are replaced, by a rule for the next token. The processor, the picture's way in, the
library's own generation, trees, protocols, rows and tables are the real ones.
"""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from helpers.config.evaluation import Evaluation
from helpers.config.prompts import OPTION_LETTERS
from helpers.evaluation.reader import Reader
from helpers.evaluation.run import answer_rows, write_answers
from helpers.models.batches import prompt_texts, user
from helpers.models.loading import load_model, load_processor
from helpers.results.stats import accuracy_table, unreadable_table
from helpers.results.tables import read_answers
from helpers.schemas import read_questions, write_questions

TEXT = 4096.0  # marks the embedding of a text token; a picture's has something else in its place
SURE = 0.9  # the probability of what a broken model means to say next

Rule = Callable[[Sequence[int], Sequence[int]], dict[int, float]]  # prompt, answer so far -> next tokens' probabilities


class Head(torch.nn.Module):
    """The language model below gives logits already."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(vocabulary, 1))

    def forward(self, logits):
        return logits


class RuleModel(torch.nn.Module):
    """In place of a language model's layers: reads the tokens back from their embeddings and follows a rule."""

    def __init__(self, rule: Rule, start: Sequence[int], vocabulary: int, embedding: torch.nn.Module) -> None:
        super().__init__()
        self.rule, self.start, self.vocabulary, self.embed_tokens = rule, list(start), vocabulary, embedding

    def get_input_embeddings(self):
        return self.embed_tokens

    def forward(self, inputs_embeds, attention_mask=None, past_key_values=None, **kwargs):
        rows, size = inputs_embeds.shape[:2]
        tokens = inputs_embeds[..., 0].round().long().where(inputs_embeds[..., 1] == TEXT, -1)
        if past_key_values is not None:  # its memory of what it has read are the tokens themselves
            tokens = torch.cat([getattr(past_key_values, "told", tokens[:, :0]), tokens], dim=1)
            past_key_values.told = tokens
        logits = torch.zeros(rows, size, self.vocabulary)
        for row in range(rows):
            for place in range(size):
                seen = self.seen(attention_mask, row, place)
                self.fill(logits[row, place], [t for t in tokens[row, seen].tolist() if t >= 0])
        return BaseModelOutputWithPast(last_hidden_state=logits)

    @staticmethod
    def seen(mask, row: int, place: int) -> torch.Tensor:
        """Which tokens a token sees: by a tree's mask, or all before it that are no padding."""
        if mask is None:  # no padding
            return torch.arange(place + 1)
        if mask.ndim == 4:
            return (mask[row, 0, place] == 0).nonzero().flatten()
        return mask[row, : place + 1].nonzero().flatten()

    def fill(self, logits: torch.Tensor, context: list[int]) -> None:
        length = len(self.start)
        ends = [i + length for i in range(len(context)) if context[i : i + length] == self.start]
        likely = self.rule(context[: ends[-1]], context[ends[-1] :]) if ends else {}
        left = max(1 - sum(likely.values()), 1e-12) / (self.vocabulary - len(likely))
        logits.fill_(math.log(left))
        for token, probability in likely.items():
            logits[token] = math.log(probability)


@pytest.fixture
def broken(model_path):
    """A reader whose model follows a rule, made from the reader of the whole model."""
    model, processor = load_model(model_path, "float32", four_bit=False)[0], load_processor(model_path)
    reader = Reader(model, processor, batch_size=5, max_new_tokens=8)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    prompt, other = (processor.tokenizer(*prompt_texts(processor, [[user(t)]]))["input_ids"] for t in ("x", "It is."))
    same = next(i for i, (a, b) in enumerate(zip(prompt[::-1], other[::-1], strict=False)) if a != b)

    def make(rule_of: Callable[[Reader], Rule]) -> Reader:
        embedding = torch.nn.Embedding(*model.get_input_embeddings().weight.shape)
        with torch.no_grad():
            embedding.weight.zero_()
            embedding.weight[:, 0] = torch.arange(len(embedding.weight))
            embedding.weight[:, 1] = TEXT
        model.model.language_model = RuleModel(rule_of(reader), prompt[-same:], vocabulary, embedding)
        model.lm_head = Head(vocabulary)
        model.generation_config.use_cache = False
        return reader

    return make


def saying(reply: Callable[[str], str]) -> Callable[[Reader], Rule]:
    """A model that is sure of one reply, which may depend on the words of the prompt."""

    def rule_of(reader: Reader) -> Rule:
        known: dict[tuple[int, ...], list[int]] = {}

        def rule(prompt, so_far):
            if (key := tuple(prompt)) not in known:
                known[key] = reader.continuation(reply(reader.processor.tokenizer.decode(prompt)))
            meant = known[key]
            going = len(so_far) < len(meant) and list(so_far) == meant[: len(so_far)]
            return {meant[len(so_far)]: SURE} if going else {}

        return rule

    return rule_of


def preferring(weights: dict[str, float]) -> Callable[[Reader], Rule]:
    """A model of these sentences alone, each as likely as the exponential of its weight, whatever it is asked."""

    def rule_of(reader: Reader) -> Rule:
        mass: dict[tuple[int, ...], float] = {}
        following: dict[tuple[int, ...], set[int]] = {}
        most = max(weights.values())
        for sentence, weight in weights.items():
            tokens = tuple(reader.continuation(sentence))
            for i in range(len(tokens) + 1):
                mass[tokens[:i]] = mass.get(tokens[:i], 0) + math.exp(weight - most)
                if i < len(tokens):
                    following.setdefault(tokens[:i], set()).add(tokens[i])

        def rule(prompt, so_far):
            begun = tuple(so_far)
            return {token: mass[*begun, token] / mass[begun] for token in following.get(begun, ())}

        return rule

    return rule_of


def listed(prompt: str) -> list[str]:
    """The options that a prompt lists behind their letters."""
    lines = [line for line in prompt.splitlines() if line[1:3] == ". " and line[0] in OPTION_LETTERS]
    assert [line[0] for line in lines] == list(OPTION_LETTERS), prompt
    return [line[3:] for line in lines]


def longest(options: Sequence[str]) -> int:
    return max(range(4), key=lambda i: (len(options[i]), options[i]))


@pytest.fixture
def scored(butterflies, tmp_path):
    """The tables of a reader's answers to a file of questions: (accuracy, unreadable) in percent by protocol."""
    write_questions(butterflies.folder / "questions.jsonl", butterflies.questions)
    questions = read_questions(butterflies.folder / "questions.jsonl")[:24]
    run = {"model": "m", "domain": "butterfly", "mode": "base", "variant": "main", "seed": 0}

    def score(reader: Reader, protocols: Sequence[str], circular: bool = False):
        settings = Evaluation(
            protocols=list(protocols),
            circular=circular,
            answering=["direct"],
            ablation_images=[],
            representations=False,
            guidance=1.0,
            batch_size=reader.batch_size,
            max_new_tokens=8,
            dtype="float32",
            max_pixels=None,
        )
        rows, _ = answer_rows(reader, questions, butterflies.folder, ["with"], settings, run)
        write_answers(tmp_path / "answers.jsonl", rows)
        answers = read_answers([tmp_path / "answers.jsonl"])
        right = accuracy_table(answers, ["protocol"]).set_index("protocol")["overall"]
        unread = unreadable_table(answers, ["protocol"]).set_index("protocol")["unreadable_overall"]
        return {p: (pytest.approx(right[p]), pytest.approx(unread[p])) for p in protocols}, answers

    score.questions = questions
    return score


def percent(questions, right: Callable) -> float:
    return 100 * sum(map(right, questions)) / len(questions)


LETTERED = ("letter", "letter_likelihood")


def test_always_a_is_right_where_a_is_right_and_never_in_every_rotation(broken, scored):
    reader = broken(saying(lambda prompt: "A"))
    a_is_right = percent(scored.questions, lambda q: q.answer == 0)
    assert 0 < a_is_right < 100
    assert scored(reader, LETTERED)[0] == dict.fromkeys(LETTERED, (a_is_right, 0))
    found, answers = scored(reader, LETTERED, circular=True)
    assert found == dict.fromkeys(LETTERED, (0, 0))
    assert {tuple(parsed) for parsed in answers["rotation_parsed"]} == {(0, 1, 2, 3)}


def test_always_the_longest_is_right_where_the_longest_is_right_in_any_order(broken, scored):
    reader = broken(saying(lambda prompt: OPTION_LETTERS[longest(listed(prompt))]))
    right = percent(scored.questions, lambda q: longest(q.options) == q.answer)
    assert 0 < right < 100
    for circular in (False, True):
        assert scored(reader, LETTERED, circular)[0] == dict.fromkeys(LETTERED, (right, 0))


def test_liking_long_sentences_gives_the_longest_and_its_exact_likelihood(broken, scored):
    sentences = sorted({s for q in scored.questions for s in q.sentences()})
    weights = {s: len(s) + 0.01 * i for i, s in enumerate(sentences)}  # of two equally long ones, the later
    total = math.log(sum(math.exp(w - max(weights.values())) for w in weights.values())) + max(weights.values())
    reader = broken(preferring(weights))
    right = percent(scored.questions, lambda q: longest(q.sentences()) == q.answer)
    for circular in (False, True):  # sentences have no order
        found, answers = scored(reader, ["option_likelihood", "option_likelihood_normalised"], circular)
        assert found["option_likelihood"] == (right, 0)
        by_protocol = dict(tuple(answers.groupby("protocol")))
        for question in scored.questions:
            expected = [weights[s] - total for s in question.sentences()]
            means = [e / len(reader.continuation(s)) for e, s in zip(expected, question.sentences(), strict=True)]
            for protocol, scores in (("option_likelihood", expected), ("option_likelihood_normalised", means)):
                rows = by_protocol[protocol].set_index("question_id")
                assert rows.loc[question.question_id, "scores"] == pytest.approx(scores, abs=1e-3)
                assert rows.loc[question.question_id, "parsed"] == scores.index(max(scores))


@pytest.mark.parametrize("reply", ["It is hard to say.", "the question"])
def test_an_unreadable_reply_is_always_wrong_and_counted_and_no_letter_is_drawn(broken, scored, reply):
    def repeat(prompt: str) -> str:
        return next(q.question for q in scored.questions if q.question in prompt)

    reader = broken(saying(repeat if reply == "the question" else lambda prompt: reply))
    assert scored(reader, ["letter"])[0] == {"letter": (0, 100)}
    found, answers = scored(reader, ["letter"], circular=True)
    assert found == {"letter": (0, 100)}
    assert answers["parsed"].isna().all()
    assert not answers["correct"].any()


def test_four_letters_that_are_equally_likely_are_read_as_a_and_fail_the_rotations(broken, scored):
    reader = broken(saying(lambda prompt: "It is hard to say."))
    a_is_right = percent(scored.questions, lambda q: q.answer == 0)
    assert scored(reader, ["letter_likelihood"])[0] == {"letter_likelihood": (a_is_right, 0)}
    assert scored(reader, ["letter_likelihood"], circular=True)[0] == {"letter_likelihood": (0, 0)}
