"""The writer that asks a model, behind a server or in memory: what is asked, how often, and what the result is.

Every reply is in the cache before it is read, so nothing is lost, and a rerun gives the same texts at no cost. It asks
again only for what was listed as a failure.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from helpers.config.writer import Writer
from helpers.domains.interface import Domain
from helpers.paths import resolve
from helpers.schemas import ClassText, Question, shuffled_question
from helpers.workflow.progress import Ticker
from helpers.workflow.provenance import portable
from helpers.writer.budget import OverBudget, expected_tokens, price_of, priced_image_tokens
from helpers.writer.cache import Cache, CachedReply, open_cache
from helpers.writer.checks import language_faults, near_duplicates
from helpers.writer.conversation import (
    REPLY_KEPT,
    Outcome,
    Task,
    WriterRequest,
    conversation,
    question_tasks,
    text_tasks,
)
from helpers.writer.endpoint import Endpoint, Unanswered, WriterError, read_key
from helpers.writer.local import LocalModel
from helpers.writer.outcome import Plan, Written
from helpers.writer.prompts import WriterPrompt, load_prompt

TYPE2_A_CLASS = 5  # different type-2 questions per class, at most; with more images they take turns


class ModelWriter:
    """A language model, behind a server or in memory."""

    def __init__(self, settings: Writer, name: str, source_path: str | Path | None = None) -> None:
        self.settings, self.name = settings, name
        self.price = price_of(settings)
        self.path = resolve(settings.cache_dir) / f"{name}.jsonl"
        self.account = portable(str(resolve(source_path))) if source_path else ""

    def plan(self, domain: Domain, folder: Path, wordings: int) -> Plan:
        """A dry run: continues every conversation as far as the cache allows."""
        self._check_key()
        tasks = self._tasks(domain, folder, wordings)
        with open_cache(self.path, self.account) as cache:
            missing = [(task, request) for task in tasks if (request := _missing(task, cache))]
        tokens = [self._tokens_in(request) for _, request in missing]
        out = sum(task.prompt.expected_tokens for task, _ in missing)
        most = self.settings.max_tokens * len(missing)
        return Plan(
            backend=self.settings.backend,
            model=_model_name(self.settings),
            texts=sum(task.wording is not None for task in tasks),
            question_sets=sum(task.wording is None for task in tasks),
            with_image=sum(task.image is not None for task in tasks),
            requests=len(missing),
            tokens_in=sum(tokens),
            tokens_out=out,
            cost=self.price.cost(sum(tokens), out),
            cost_at_most=self._at_most(tokens, most),
            spent=cache.spent,
            elsewhere=cache.elsewhere,
            budget=self.settings.budget,
            currency=self.price.currency,
        )

    def _check_key(self) -> None:
        """Check the key's form before anything else. Raises `WriterError`. A dry run needs no key."""
        if self.settings.backend == "openai":
            read_key(self.settings)

    def _at_most(self, tokens: Sequence[int], out: int) -> float:
        """Asking again repeats the whole conversation so far."""
        asked, limit = 1 + self.settings.reasks, self.settings.max_tokens
        earlier = limit * len(tokens) * asked * (asked - 1) // 2
        return self.price.cost(sum(tokens) * asked + earlier, out * asked)

    def _tokens_in(self, request: WriterRequest) -> int:
        from PIL import Image

        tokens = expected_tokens([message["content"] for message in request.messages])
        if request.image:
            with Image.open(request.image) as image:
                tokens += priced_image_tokens(self.price, *image.size)
        return tokens

    def write(self, domain: Domain, folder: Path, wordings: int, seed: int = 0) -> Written:
        """Request everything that is missing; ``seed`` decides the order of options. Blocks, even in a notebook."""
        self._check_key()
        tasks = self._tasks(domain, folder, wordings)
        language_faults("", self.settings.language)  # loads its model now, not while replies are pending
        with open_cache(self.path, self.account) as cache, start_blocking_portal("asyncio") as portal:
            outcomes = portal.call(self._all, tasks, cache)
        done = list(zip(tasks, outcomes, strict=True))
        texts = [_class_text(task, outcome) for task, outcome in done if outcome.value and task.wording is not None]
        asked = [(task, outcome.value) for task, outcome in done if outcome.value and task.wording is None]
        names = [one.name for one in domain.class_info()]
        return Written(
            texts=[*domain.own_texts(), *texts],
            questions=[q for q in _questions(asked, names, seed) if q.question_type in _types_lacking(domain)],
            failures=[task.failure(outcome) for task, outcome in done if outcome.value is None],
            passed=sum(outcome.value is not None and outcome.replies == 1 for outcome in outcomes),
            reasked=sum(outcome.value is not None and outcome.replies > 1 for outcome in outcomes),
            prompts=self._prompts(tasks),
            spent=cache.spent,
            currency=self.price.currency,
            estimated=cache.estimated,
        )

    def _tasks(self, domain: Domain, folder: Path, wordings: int) -> list[Task]:
        every = domain.class_info()
        written = {text.class_id for text in domain.own_texts()}
        names = {one.domain: one.prompt for one in every}
        prompts = {name: load_prompt(prompt) for name, prompt in names.items()}
        tasks = text_tasks(every, prompts, self.settings, folder, wordings)
        tasks = [task for task in tasks if task.subject.class_id not in written]
        if self.settings.questions and _types_lacking(domain):
            asking = {name: load_prompt(f"questions_{prompt}") for name, prompt in names.items()}
            tasks += question_tasks(every, asking, self.settings, folder, TYPE2_A_CLASS)
        return tasks

    def _prompts(self, tasks: Sequence[Task]) -> dict[str, WriterPrompt]:
        kind = {"text": "", "questions": "questions_"}
        return {kind[task.prompt.kind] + task.subject.prompt: task.prompt for task in tasks}

    async def _all(self, tasks: Sequence[Task], cache: Cache) -> list[Outcome]:
        """Two rounds: a look that is nearly the same as another class's is requested again, with that fault listed."""
        local = self.settings.backend == "local"
        backend = LocalModel(self.settings, cache) if local else Endpoint(self.settings, self.price, cache)
        streak = _Streak(backend)
        async with backend:
            outcomes = await self._round(tasks, backend, cache, streak, "texts")
            places, again = _rivals(tasks, outcomes)
            for place, outcome in zip(places, await self._round(again, backend, cache, streak, "again"), strict=True):
                outcomes[place] = outcome
        for place in _rivals(tasks, outcomes)[0]:  # the second versions may still match each other
            outcomes[place] = replace(outcomes[place], value=None, reason="look is nearly another class's")
            cache.forget(outcomes[place].asked)
        return outcomes

    async def _round(
        self, tasks: Sequence[Task], backend: Endpoint | LocalModel, cache: Cache, streak: "_Streak", what: str
    ) -> list[Outcome]:
        """``concurrency`` workers share the tasks; the outcomes are in the order of the tasks.

        After a `WriterError` no request starts; the replies under way are waited for, and stored.
        """
        outcomes: list[Outcome] = [Outcome()] * len(tasks)
        waiting, ticker, done = iter(range(len(tasks))), Ticker(what, len(tasks)), Counter[str]()
        locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

        async def worker() -> None:
            for place in waiting:
                outcomes[place] = await _outcome(tasks[place], backend, cache, locks, streak)
                done["tasks"] += 1
                ticker.tick(done["tasks"], f", {cache.tokens} tokens, {cache.spent:.4f} {self.price.currency} so far")

        count = 1 if self.settings.backend == "local" else min(self.settings.concurrency, len(tasks))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return outcomes


class _Streak:
    """Counts new replies in a row that cannot be used: that could not be read, or that ended a conversation in vain."""

    def __init__(self, backend: Endpoint | LocalModel) -> None:
        self.backend, self.most = backend, backend.settings.unusable_in_a_row
        self.count, self.broken = 0, False

    def unusable(self, reason: str | None, reply: str | None) -> None:
        """Raises `WriterError` if this is one too many."""
        self.count += 1
        if self.most is None or self.count < self.most:
            return
        self.broken = True
        self.backend.stopped = WriterError(
            f"{self.count} replies in a row could not be used, the last because: {reason}. It began: "
            f"{(reply or '(nothing)')[:REPLY_KEPT]!r}. The run stops before it costs more (writer.unusable_in_a_row); "
            "what was written is kept. Correct the settings or choose another model, and run again"
        )
        raise self.backend.stopped from None


async def _outcome(
    task: Task, backend: Endpoint | LocalModel, cache: Cache, locks: defaultdict[str, asyncio.Lock], streak: _Streak
) -> Outcome:
    """Hold the conversation. If another task has already made a request, wait for its reply; do not pay twice.

    If it ends in vain, or is stopped because replies cannot be used, it is forgotten: the next run asks again.
    """
    talk, asked, last = conversation(task), list[str](), None
    request = next(talk)
    try:
        while True:
            async with locks[request.key]:
                cached = cache.get(request.key)
                reply: CachedReply = cached or await backend.ask(request)
            asked.append(request.key)
            last = reply.text
            request = talk.send(reply)
            if cached is None and request.unreadable:
                streak.unusable(request.unreadable, last)
    except StopIteration as end:
        outcome: Outcome = replace(end.value, asked=tuple(asked))
        if outcome.value is None:
            cache.forget(asked)
        if cached is None and outcome.value is None:
            streak.unusable(outcome.reason, last)
        elif cached is None:
            streak.count = 0
        return outcome
    except (Unanswered, OverBudget) as error:
        return Outcome(None, len(asked), str(error), last)
    except (WriterError, asyncio.CancelledError):
        if streak.broken:
            cache.forget(asked)
        raise


def _missing(task: Task, cache: Cache) -> WriterRequest | None:
    """A task's first request that is not in the cache; None if all are."""
    talk = conversation(task)
    request = next(talk)
    try:
        while reply := cache.get(request.key):
            request = talk.send(reply)
    except StopIteration:
        return None
    return request


def _rivals(tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> tuple[list[int], list[Task]]:
    """Indices of the texts whose look is nearly an earlier class's, and their tasks with the other looks as rivals.

    The first reply to such a task is in the cache, so requesting it again costs nothing; then the new fault is listed.
    """
    written = [i for i, task in enumerate(tasks) if task.wording is not None and outcomes[i].value is not None]
    appearances = [(tasks[i].subject.class_id, outcomes[i].value.appearance) for i in written]
    late = [written[place] for place in near_duplicates(appearances)]
    kept = [(tasks[i].subject.class_id, outcomes[i].value.appearance) for i in written if i not in late]
    others = {i: tuple(appearance for owner, appearance in kept if owner != tasks[i].subject.class_id) for i in late}
    return late, [replace(tasks[i], rivals=rivals) for i, rivals in others.items()]


def _types_lacking(domain: Domain) -> set[int]:
    """The types of questions that a domain does not come with."""
    return {1, 2} - {question.question_type for question in domain.questions()}


def _class_text(task: Task, outcome: Outcome) -> ClassText:
    one = task.subject
    return ClassText(
        class_id=one.class_id,
        name=one.called,
        domain=one.domain,
        appearance=outcome.value.appearance,
        background=outcome.value.background,
        wording=task.wording or 0,
        writer=f"{task.settings.backend}:{_model_name(task.settings)}",
        image=one.image,
        prompt_hash=task.prompt.hash,
    )


def _model_name(settings: Writer) -> str:
    """For a local folder, only its last part: results name no folder of this machine."""
    return Path(settings.model).name if settings.backend == "local" else settings.model


def _questions(asked: Sequence[tuple[Task, Any]], every: Iterable[str], seed: int) -> list[Question]:
    """One question of each type per image. Names are drawn here: a model must not choose the options of its test.

    Raises ``ValueError`` for fewer than four classes.
    """
    names = list(dict.fromkeys(every))
    if asked and len(names) < 4:
        raise ValueError(f"questions have four options; there are only {len(names)} classes, at least 4 are needed")
    found: list[Question] = []
    for task, value in asked:
        seen: Counter[str] = Counter()
        for split, image in task.subject.asked:
            found += _pair(task, value, names, split, image, seen[split], seed)
            seen[split] += 1
    return found


def _pair(
    task: Task, value: Any, names: Sequence[str], split: str, image: str, number: int, seed: int
) -> list[Question]:
    one, fact = task.subject, value.type2[number % len(value.type2)]
    rng = random.Random(f"{one.class_id}/{split}/{number}/{seed}")
    others = rng.sample([name for name in names if name != one.name], k=3)
    asked = ((1, "name", value.type1, one.name, others), (2, fact.category, fact.question, fact.right, fact.wrong))
    return [
        shuffled_question(
            rng,
            [right, *wrong],
            domain=one.domain,
            question_id=f"{one.class_id}-{split}-{number}-type{kind}",
            question_type=kind,
            category=category,
            class_id=one.class_id,
            question=text,
            image=image,
            split=split,
            refers=next((words for words in (one.refers, task.prompt.refers) if words and words in text), None),
        )
        for kind, category, text, right, wrong in asked
    ]
