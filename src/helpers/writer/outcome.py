"""What a writer plans to do, and its results."""

from dataclasses import dataclass, field

from helpers.rows import NotNegative, Row, Text
from helpers.schemas import ClassText, Question
from helpers.writer.prompts import WriterPrompt


class Failure(Row):
    """A text or a set of questions that is missing, and why: a row of ``failures.jsonl``."""

    class_id: Text
    name: Text
    what: Text  # "wording 0" or "questions"
    reason: Text
    replies: NotNegative  # the number of replies read
    reply: str | None  # the beginning of the last reply


@dataclass(frozen=True)
class Plan:
    """What a writer plans to do. Requests and tokens cover what is still missing, each requested once."""

    backend: str
    model: str
    texts: int
    question_sets: int
    with_image: int
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    cost_at_most: float = 0.0  # if every reply is as long, and requested again as often, as allowed
    spent: float = 0.0
    elsewhere: float = 0.0  # on other accounts of the same cache, which the budget does not count
    budget: float | None = None
    currency: str = ""

    def __str__(self) -> str:
        what = f"{self.texts} texts, {self.question_sets} sets of questions, by {self.backend} {self.model}".rstrip()
        if self.backend == "offline":
            return f"{what}: no requests, no cost"
        limit = "no budget" if self.budget is None else f"budget {self.budget:g}"
        others = f"{self.elsewhere:.2f} more is on accounts of other folders, or of before each folder had its own"
        return (
            f"{what}, {self.with_image} with picture\n"
            f"{self.requests} requests to make (the others are in the cache): about {self.tokens_in} tokens in and "
            f"{self.tokens_out} out\n"
            f"about {self.cost:.2f} {self.currency} (at most {self.cost_at_most:.2f}); spent so far {self.spent:.2f}, "
            f"{limit}" + (f"; {others}" if self.elsewhere else "")
        )


@dataclass
class Written:
    """The results; ``passed`` counts tasks that succeeded at once, ``reasked`` those that did after asking again."""

    texts: list[ClassText]
    questions: list[Question] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed: int = 0
    reasked: int = 0
    prompts: dict[str, WriterPrompt] = field(default_factory=dict)
    spent: float = 0.0
    currency: str = ""
    estimated: int = 0  # replies, over all runs, whose tokens the server did not count

    def __str__(self) -> str:
        estimate = f", estimated for {self.estimated} replies whose tokens the server did not count"
        return (
            f"{len(self.texts)} texts, {len(self.questions)} questions; {self.passed} passed at once, {self.reasked} "
            f"asked again and passed, {len(self.failures)} listed as failures; spent {self.spent:.4f} {self.currency}"
        ).rstrip() + (estimate if self.estimated else "")
