"""Is text alone enough? A verdict from the answers of one run, or the number of questions that it would take.

For each model and question type, text-only training is compared with the untuned model (did it learn anything?) and, if
available, with training on images (is it worse by more than a margin?). Decisions:

- All models answer the same questions, so every comparison is *paired*. Its interval is Tango's 95 % score interval
  (1998, Statistics in Medicine 17, 891-908). It is valid for few questions and even without any discordant question,
  where a bootstrap interval would have width 0. "Better than untuned" also requires McNemar's exact test at 5 %.
- The prompting strategy of text-only training is fixed in advance: describing first, if that was asked. Its rivals get
  their better strategy, so that a "yes" is never due to a badly prompted rival.
- Over several seeds, discordant counts are means and p is `combined_p_value`; n stays the number of questions.
- Before any verdict, the model has to show that it sees the images (`helpers.results.sight`). Training on images is the
  control of a "no": if not even that makes the model recognise a class, its failure says nothing about the texts.
- The classes are the reader's own and not a sample: the verdict covers new images of these classes and no others.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from helpers.results.figures.style import label
from helpers.results.sight import Sight
from helpers.results.stats import MARGIN, combined_p_value, mcnemar_exact, seed_by_seed, wilson
from helpers.results.stats.accuracy import CHANCE
from helpers.results.stats.power import ALPHA, POWER
from helpers.results.tables import of_protocol, of_variant

Z, Z_POWER = float(norm.ppf(1 - ALPHA / 2)), float(norm.ppf(POWER))
MOST_QUESTIONS = 10_000  # above it, only "more than" is said
TEXT, BASE, IMAGE = "text_only", "base", "image_text"
PREFERRED = "describe_then_answer"
_TYPES = {1: "recognition", 2: "reasoning"}
_REMEDY = "Use a model that sees them: --profile laptop (no GPU needed), paper or current (docs/seven_billion.md)"
_COSTS = ["seconds", "peak_memory_mb", "energy_wh"]


@dataclass(frozen=True)
class Difference:
    """One mode compared with another on the same questions; the counts are means over the seeds."""

    only_first: float
    only_second: float
    n: int
    p_value: float

    @property
    def points(self) -> float:
        return 100 * (self.only_first - self.only_second) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        low, high = tango(self.only_first, self.only_second, self.n)
        return 100 * low, 100 * high

    @property
    def learned(self) -> bool:
        """Whether the first is better, by the exact test and by the interval."""
        return self.p_value < ALPHA and self.interval[0] > 0

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.points:+.1f} points [{low:+.1f}, {high:+.1f}]"


@dataclass(frozen=True)
class Verdict:
    """The answer for one model and question type: "yes", "no" or "cannot tell", and why."""

    model: str
    question_type: int
    n: int
    answer: str
    reason: str
    gain: Difference  # text-only over the untuned model
    against: Difference | None  # text-only over training on images
    sees: bool = True  # whether the model has shown that it sees the images; false: nothing is said about the texts


# ---- statistics ----------------------------------------------------------------------------------------------------


def tango(only_first: float, only_second: float, n: int) -> tuple[float, float]:
    """Tango's 95 % score interval of the difference of two paired shares; ``only_first``: right in the first only.

    Raises ``ValueError`` for counts outside 0..n.
    """
    if n < 1 or min(only_first, only_second) < 0 or only_first + only_second > n:
        raise ValueError(f"{only_first} and {only_second} of {n} questions; counts lie in 0..n and n is 1 or more")
    found = (only_first - only_second) / n
    edge = 1 - 1e-12  # the score is undefined at a difference of exactly 1

    def score(difference: float) -> float:
        return _score(difference, only_first, only_second, n)

    low = -1.0 if found <= -edge or score(-edge) < Z else brentq(lambda d: score(d) - Z, -edge, found)
    high = 1.0 if found >= edge or score(edge) > -Z else brentq(lambda d: score(d) + Z, found, edge)
    return low, high


def _score(difference: float, first: float, second: float, n: int) -> float:
    """Tango's statistic: how far the observed difference is from this one, in standard errors under this one."""
    b = -first - second + (2 * n - first + second) * difference
    c = -second * difference * (1 - difference)
    only_second = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)  # maximum likelihood, given the difference
    variance = n * (2 * only_second + difference * (1 - difference))
    distance = first - second - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def needed(discordant: float, difference: float, target: float) -> int | None:
    """Questions needed to tell a difference from a target (shares; 80 % power, 5 %); None: more than 10,000."""
    distance = abs(difference - target)
    if distance < 1e-9:
        return None
    variance = max(discordant - difference**2, 1e-3)
    n = math.ceil((Z + Z_POWER) ** 2 * variance / distance**2)
    return n if n <= MOST_QUESTIONS else None


def detectable(n: int, base: float = 0.25) -> float:
    """The smallest gain over `base` (shares) that n questions find with 80 % power at 5 % (McNemar's test).

    Connor's formula (1987, Biometrics 43, 207-211) for two independent sets of answers; if they agree more often,
    smaller gains can be found. Returns 1 - base if even a perfect score might be missed.
    """
    if n < 1 or not 0 <= base < 1:
        raise ValueError(f"n is {n} and base is {base}; n must be at least 1, and base a share below 1")
    most = 1 - base

    def lacking(gain: float) -> float:
        after = base + gain
        discordant = after * (1 - base) + base * (1 - after)
        return (Z * math.sqrt(discordant) + Z_POWER * math.sqrt(discordant - gain**2)) ** 2 / gain**2 - n

    return most if lacking(most) > 0 else float(brentq(lacking, 1e-6, most))


def compare(first: pd.DataFrame, second: pd.DataFrame) -> Difference:
    """Compare the rows of two modes question by question and seed by seed; a single seed is paired with all others."""
    seeds, others = (set(rows["seed"]) for rows in (first, second))
    if min(len(seeds), len(others)) > 1 and seeds != others:
        raise ValueError(f"seeds {sorted(seeds)} against {sorted(others)}; run the missing ones, or one seed of each")
    found = [mcnemar_exact(one, other) for _, one, other in seed_by_seed(first, second)]
    return Difference(
        only_first=sum(p.only_first for p in found) / len(found),
        only_second=sum(p.only_second for p in found) / len(found),
        n=first["question_id"].nunique(),
        p_value=combined_p_value([p.p_value for p in found]),
    )


# ---- the decision --------------------------------------------------------------------------------------------------


def _unseen(model: str, rows: pd.DataFrame, sights: Sequence[Sight]) -> str | None:
    """Why nothing can be said about the texts: the model has not shown that it sees the images; None if it has."""
    found = next((sight for sight in sights if sight.model == model), None)
    if (found and found.seen) or _recognises(rows):
        return None
    if found and not found.untested:
        what = f"this model does not see your images, as far as could be tested: {found}"
    else:
        why = found or "untested: no text and description of one class (evaluation.answering: describe_then_answer)"
        what = f"it is not known whether this model sees your images ({why})"
    return f"{what}; and no training made it recognise them above chance. {_REMEDY}"


def _recognises(rows: pd.DataFrame) -> bool:
    """Whether Wilson's interval of the Type-1 accuracy is above chance in any mode; ``rows``: those that count."""
    for _, group in rows[rows["question_type"] == 1].groupby("mode", sort=False):
        if 100 * wilson(float(group["correct"].mean()), group["question_id"].nunique())[0] > CHANCE:
            return True
    return False


def judge(gain: Difference, against: Difference | None, margin: float = MARGIN) -> tuple[str, str]:
    """("yes" | "no" | "cannot tell", the reason in one sentence).

    Yes: better than the untuned model and, if there was training on images, not worse than that by more than the
    margin. No: worse by more than the margin, or a gain that is certainly smaller than the margin.
    """
    learned = gain.learned
    if gain.interval[1] < margin:
        return "no", f"it gains less than {margin:g} points over the untuned model: {gain}"
    if against is not None and against.interval[1] < -margin:
        taught = f"it learns from text ({gain} over the untuned model), but" if learned else "it"
        return "no", f"{taught} stays more than {margin:g} points behind training on images: {against}"
    if not learned:
        more = _more(gain, lambda more: more.learned or more.interval[1] < margin)
        return "cannot tell", f"its gain over the untuned model may be zero: {gain}, p = {gain.p_value:.2g}; {more}"
    if against is None:
        return "yes", f"it beats the untuned model: {gain}; training on images was not tested"
    if against.interval[0] >= -margin:
        return (
            "yes",
            f"it beats the untuned model ({gain}) and is within {margin:g} points of images: {against}",
        )
    more = _more(against, lambda more: more.interval[0] >= -margin or more.interval[1] < -margin)
    return "cannot tell", f"it beats the untuned model ({gain}), but compared with images it is {against}; {more}"


def _more(difference: Difference, settled: Callable[[Difference], bool]) -> str:
    """How many questions would settle it if the observed shares stay the same, by the interval and test in use.

    The smallest number beyond those asked, by bisection. Counts need not be whole; the exact test rounds them.
    """

    def enough(n: int) -> bool:
        first, second = (count * n / difference.n for count in (difference.only_first, difference.only_second))
        right, both = round(first), round(first) + round(second)
        return settled(Difference(first, second, n, binomtest(right, both).pvalue if both else 1.0))

    if difference.n >= MOST_QUESTIONS or not enough(MOST_QUESTIONS):
        return f"more than {MOST_QUESTIONS} questions would be needed, and {difference.n} were asked"
    numbers = range(difference.n + 1, MOST_QUESTIONS + 1)
    n = numbers[bisect_left(numbers, True, key=enough)]
    return f"about {n} questions would settle it if the shares stay the same, and {difference.n} were asked"


def verdicts(
    answers: pd.DataFrame, margin: float = MARGIN, protocol: str | None = None, sights: Sequence[Sight] = ()
) -> list[Verdict]:
    """One verdict per model and question type with answers of both the text-only and the untuned model.

    ``sights``: what the models' descriptions show (`helpers.results.sight`). A model that has not shown in any way that
    it sees the images gets "cannot tell".
    """
    counted, found = counted_answers(answers, protocol), []
    unseen = {model: _unseen(model, rows, sights) for model, rows in counted.groupby("model", sort=False)}
    for (model, kind), rows in counted.groupby(["model", "question_type"], sort=False):
        modes = dict(iter(rows.groupby("mode", sort=False)))
        if not {TEXT, BASE} <= modes.keys():
            continue
        gain = compare(modes[TEXT], modes[BASE])
        against = compare(modes[TEXT], modes[IMAGE]) if IMAGE in modes else None
        why = unseen[model]
        answer, reason = judge(gain, against, margin)
        if why is None and answer == "no" and against and not _recognises(counted[counted["model"] == model]):
            why = f"no training, not even on images, makes this model recognise the classes above chance ({reason})"
            why = f"{why}. {_REMEDY}"
        answer, reason = (answer, reason) if why is None else ("cannot tell", why)
        found.append(Verdict(model, kind, gain.n, answer, reason, gain, against, why is None))
    if not found:
        there = ", ".join(sorted(answers["mode"].unique())) or "none"
        raise ValueError(f"a verdict needs answers of modes {BASE} and {TEXT}; found: {there}. Finish the run first")
    return found


def counted_answers(answers: pd.DataFrame, protocol: str | None = None) -> pd.DataFrame:
    """The rows that count: image shown, no variant, one protocol, and one prompting strategy per mode.

    Raises ``ValueError`` for answers about more than one domain.
    """
    if "domain" in answers and (domains := sorted(answers["domain"].unique()))[1:]:
        raise ValueError(
            f"the answers are about the domains {', '.join(domains)}, and a verdict is about one: name the answer "
            "files of one (answer_files in notebook 09)"
        )
    rows = of_protocol(of_variant(answers[answers["image"] == "with"]), protocol)
    keys = ["model", "question_type", "mode"]
    parts = [group[group["answering"] == _way(mode, group)] for (_, _, mode), group in rows.groupby(keys, sort=False)]
    return pd.concat(parts) if parts else rows


def _way(mode: str, rows: pd.DataFrame) -> str:
    """Text-only: describing first, if that was asked. Its rivals: the strategy with which they did better."""
    ways = list(rows["answering"].unique())
    if mode == TEXT:
        return PREFERRED if PREFERRED in ways else ways[0]
    shares = rows.groupby("answering", sort=False)["correct"].mean()
    return str(shares.idxmax())


# ---- the table and the words -----------------------------------------------------------------------------------------


def verdict_table(
    answers: pd.DataFrame, resources: pd.DataFrame | None = None, protocol: str | None = None
) -> pd.DataFrame:
    """One row per model, question type and mode: accuracy with its interval, how far text-only is above it, and cost.

    In percent and points, with one decimal. Untuned models have no training cost; without resources, costs are empty.
    """
    rows = counted_answers(answers, protocol)
    found = []
    for (model, kind), group in rows.groupby(["model", "question_type"], sort=False):
        modes = dict(iter(group.groupby("mode", sort=False)))
        for mode in sorted(modes, key=_order):
            found.append(_line(model, kind, mode, modes) | _cost(model, mode, resources))
    return pd.DataFrame(found).round(1)


def _order(mode: str) -> tuple[int, str]:
    known = (BASE, TEXT, IMAGE)
    return (known.index(mode) if mode in known else len(known), mode)


def _line(model: str, kind: int, mode: str, modes: dict[str, pd.DataFrame]) -> dict[str, object]:
    rows = modes[mode]
    n = rows["question_id"].nunique()
    low, high = wilson(share := float(rows["correct"].mean()), n)
    line = {"model": model, "question_type": kind, "mode": mode, "answering": rows["answering"].iloc[0], "n": n}
    line |= {"seeds": rows["seed"].nunique(), "accuracy": 100 * share, "low": 100 * low, "high": 100 * high}
    above = compare(modes[TEXT], rows) if TEXT in modes and mode != TEXT else None
    ends = above.interval if above else (math.nan, math.nan)
    return line | {"text_above": above.points if above else math.nan, "above_low": ends[0], "above_high": ends[1]}


def _cost(model: str, mode: str, resources: pd.DataFrame | None) -> dict[str, float]:
    if mode == BASE:
        return dict.fromkeys(_COSTS, 0.0)
    if resources is None or resources.empty:
        return dict.fromkeys(_COSTS, math.nan)
    runs = resources[(resources["model"] == model) & (resources["mode"] == mode)]
    return {cost: float(runs[cost].astype(float).mean()) for cost in _COSTS}


def verdicts_said(found: Sequence[Verdict]) -> pd.DataFrame:
    """The verdicts as a table: model, question_type, n, verdict, and the reason as a sentence without its full stop."""
    said = [f"Text alone: {one.reason}" if one.sees else one.reason[0].upper() + one.reason[1:] for one in found]
    rows = [(one.model, one.question_type, one.n, one.answer, why) for one, why in zip(found, said, strict=True)]
    return pd.DataFrame(rows, columns=["model", "question_type", "n", "verdict", "reason"])


def in_words(found: Iterable[Verdict]) -> str:
    """The verdicts as text, recognition first."""
    lines = [
        f"{label(verdict.model)}, type {verdict.question_type} ({_TYPES[verdict.question_type]}), n = {verdict.n}: "
        f"{verdict.answer.upper()}{'. Text alone' if verdict.sees else ''}: {verdict.reason}."
        for verdict in sorted(found, key=lambda verdict: verdict.question_type)
    ]
    return "\n".join(lines)
