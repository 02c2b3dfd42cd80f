"""How a model's answer to a four-option question is read. The protocol is a parameter and is saved in every row.

- ``option_likelihood``: the option whose sentence the model finds most likely after the question, by the sum of the log
  probabilities of its tokens, including the end of turn. ``option_likelihood_normalised``: by their mean, so that long
  options are not at a disadvantage.
- ``letter``: the options are listed as A to D, and the model writes at most three tokens. Anything but a bare letter is
  wrong (the K-VISCUIT authors' protocol); it is not replaced by a random choice.
- ``letter_likelihood``: the same prompt, but only the likelihoods of the four letters are compared, each one token.

With ``circular`` a lettered question is asked in its four rotations, and counts as right only if it is right in all of
them (CircularEval, arXiv 2307.06281). Options that are scored as sentences have no order, so nothing changes for them.
Among equal scores the option listed first is taken, so a model without a preference is not right in every rotation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from helpers.config.evaluation import Protocol
from helpers.config.prompts import EvaluationPrompts, evaluation_prompts
from helpers.evaluation.prompts import Prompt
from helpers.evaluation.reader import Reader
from helpers.schemas import LETTER_TOKENS, OPTION_LETTERS

LETTERED = ("letter", "letter_likelihood")
LIKELIHOODS = ("option_likelihood", "option_likelihood_normalised", "letter_likelihood")
PROTOCOLS = get_args(Protocol)

_Options = Sequence[Sequence[str]]  # four per prompt
Scores = list[list[float]]  # one question: rotations x options, options in the question's own order


@dataclass(frozen=True)
class Choice:
    """What was read from the model: scores or a reply, and the option (None = unreadable).

    ``columns``: further columns that a protocol saves.
    """

    scores: list[float] | None
    reply: str | None
    parsed: int | None
    new_tokens: int = 0
    columns: dict[str, Any] = field(default_factory=dict)


def choose_option(
    protocol: str,
    reader: Reader,
    prompts: Sequence[Prompt],
    options: _Options,
    answers: Sequence[int],
    circular: bool = False,
    against: Sequence[Prompt] | None = None,
    guidance: float = 0.0,
    asking: EvaluationPrompts | None = None,
) -> list[Choice]:
    """A choice for each prompt. ``options``: as sentences, or as listed after their letters (`LETTERED`).

    ``against``: the same prompts with the centre of the image hidden. An option's score is then ``1 + guidance`` times
    its score minus ``guidance`` times its score without the centre (contrastive region guidance, arXiv 2403.02325, per
    option). ``asking``: how options are listed; None: as in `data/prompts/evaluation.yaml`. Raises ``ValueError`` for
    guidance of protocol "letter": a reply has no scores.
    """
    asking = asking or evaluation_prompts()
    if protocol == "letter":
        if against is not None:
            raise ValueError(f"protocol 'letter' cannot be guided; protocols that can: {', '.join(LIKELIHOODS)}")
        return _letters(reader, _rotated_prompts(prompts, options, circular, asking), answers, circular)
    scores, others = _scores(protocol, reader, prompts, options, circular, asking)
    if against is not None:
        hidden, _ = _scores(protocol, reader, against, options, circular, asking)
        scores = [guided(whole, less, guidance) for whole, less in zip(scores, hidden, strict=True)]
        others = [{**columns, "alternative_parsed": None} if columns else {} for columns in others]
    return [
        _likeliest(rotations, answer, circular, protocol in LETTERED, columns)
        for rotations, answer, columns in zip(scores, answers, others, strict=True)
    ]


def guided(whole: Scores, hidden: Scores, guidance: float) -> Scores:
    """The scores, with more weight on what the hidden region contributes to each option."""
    return [
        [(1 + guidance) * w - guidance * h for w, h in zip(one, other, strict=True)]
        for one, other in zip(whole, hidden, strict=True)
    ]


def rotations(options: Sequence[str], circular: bool) -> list[list[str]]:
    """The options as they are, or rotated by 0, 1, 2 and 3 places."""
    return [[*options[by:], *options[:by]] for by in range(4 if circular else 1)]


def right_in_all(parsed: Sequence[int | None], answer: int) -> int | None:
    """The right option if every rotation gave it; otherwise the first different one (None: unreadable)."""
    return next((option for option in parsed if option != answer), answer)


def _likeliest(rotated: Scores, answer: int, circular: bool, listed: bool, columns: dict[str, Any]) -> Choice:
    orders = [[(place + by * listed) % 4 for place in range(4)] for by in range(len(rotated))]  # options by place
    each = [max(order, key=scores.__getitem__) for order, scores in zip(orders, rotated, strict=True)]
    if not circular:
        return Choice(rotated[0], None, each[0], columns=columns)
    saved = {"rotation_scores": rotated, "rotation_parsed": each}
    return Choice(rotated[0], None, right_in_all(each, answer), columns={**columns, **saved})


def _scores(
    protocol: str,
    reader: Reader,
    prompts: Sequence[Prompt],
    options: _Options,
    circular: bool,
    asking: EvaluationPrompts,
) -> tuple[list[Scores], list[dict[str, Any]]]:
    if protocol == "letter_likelihood":
        return _letter_scores(reader, _rotated_prompts(prompts, options, circular, asking), circular)
    found = reader.likelihoods(prompts, options, "option")
    mean = protocol == "option_likelihood_normalised"
    scores = [[each.mean if mean else each.total for each in four] for four in found]
    return [[four] * (4 if circular else 1) for four in scores], [{} for _ in prompts]


def _letters(reader: Reader, asked: Sequence[Sequence[Prompt]], answers: Sequence[int], circular: bool) -> list[Choice]:
    flat = iter(reader.replies([prompt for several in asked for prompt in several], "question", LETTER_TOKENS))
    choices = []
    for several, answer in zip(asked, answers, strict=True):
        replies = [next(flat) for _ in several]
        each = [_unrotated(read_letter(reply.text), by) for by, reply in enumerate(replies)]
        saved = {"rotation_replies": [r.text for r in replies], "rotation_parsed": each} if circular else {}
        parsed = right_in_all(each, answer) if circular else each[0]
        choices.append(Choice(None, replies[0].text, parsed, sum(r.tokens for r in replies), saved))
    return choices


def _rotated_prompts(
    prompts: Sequence[Prompt], options: _Options, circular: bool, asking: EvaluationPrompts
) -> list[list[Prompt]]:
    return [
        [Prompt(asking.with_letters(prompt.text, four), prompt.image) for four in rotations(listed, circular)]
        for prompt, listed in zip(prompts, options, strict=True)
    ]


def _unrotated(place: int | None, by: int) -> int | None:
    """The option at a place after rotation by ``by``."""
    return None if place is None else (place + by) % 4


def _letter_scores(
    reader: Reader, asked: Sequence[Sequence[Prompt]], circular: bool
) -> tuple[list[Scores], list[dict[str, Any]]]:
    """Log probabilities of the letter tokens, and the choice by the letters' other form (with or without a space)."""
    forms = letter_forms(reader)
    ends = [tokens for form in forms for tokens in form.tokens]
    flat = [prompt for several in asked for prompt in several]
    found = iter(reader.log_probabilities(flat, [ends] * len(flat), "question"))
    scores, columns = [], []
    for several in asked:
        last = [[answer[-1] for answer in next(found)] for _ in several]
        ordered = [
            [[row[start + (o - by) % 4] for o in range(4)] for by, row in enumerate(last)]
            for start in (0, 4)[: len(forms)]
        ]
        # A choice from one rotation would not be comparable with one that holds in all of them
        other = None if circular or len(forms) < 2 else max(range(4), key=ordered[1][0].__getitem__)
        scores.append(ordered[0])
        columns.append({"letter_form": forms[0].text, "alternative_parsed": other})
    return scores, columns


@dataclass(frozen=True)
class LetterForm:
    """The four letters as tokens; only the last token of each differs."""

    text: str  # of the first letter, such as " A"
    tokens: list[list[int]]


def letter_forms(reader: Reader) -> list[LetterForm]:
    """The form in the chat template, then the other form (with or without a space before), if it is one token.

    Raises ``ValueError`` if the template's letters do not differ in exactly one token, since they cannot be compared.
    """
    whole = [reader.continuation(letter) for letter in OPTION_LETTERS]
    shared = next((i for i, four in enumerate(zip(*whole, strict=False)) if len(set(four)) > 1), 0)
    tokens = [answer[: shared + 1] for answer in whole]
    if (
        len({len(a) for a in whole}) > 1
        or len({tuple(a[shared + 1 :]) for a in whole}) > 1
        or len({a[-1] for a in tokens}) < 4
    ):
        raise ValueError(
            f"the letters {', '.join(OPTION_LETTERS)} are not one token each in this model ({whole}); use `letter`"
        )
    decode = reader.processor.tokenizer.decode
    forms = [LetterForm(decode(tokens[0]), tokens)]
    for before in ("", " "):
        other = [reader.processor.tokenizer(before + a, add_special_tokens=False)["input_ids"] for a in OPTION_LETTERS]
        if all(len(ids) == 1 for ids in other) and other != [ids[-1:] for ids in tokens] and len(forms) == 1:
            forms.append(LetterForm(decode(other[0]), other))
    return forms


def read_letter(reply: str) -> int | None:
    """The option of a bare letter ("B", "B.", "(B)"); None for anything else."""
    found = re.fullmatch(r"\(?([ABCD])[.):]?", reply.strip())
    return OPTION_LETTERS.index(found[1]) if found else None
