"""What a model is asked about one class, how its reply is read, and the conversation that follows.

A conversation is independent of networks: it yields requests and is sent replies. The same one runs with a server, with
a model in memory, and with only the cache, which is how a dry run finds out what is missing.
"""

import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.config.writer import Writer
from helpers.domains.interface import Subject
from helpers.workflow.provenance import portable, sha256
from helpers.writer import checks
from helpers.writer.cache import CachedReply
from helpers.writer.outcome import Failure
from helpers.writer.prompts import WriterPrompt, user_message

ApiMessage = dict[str, str]
REPLY_KEPT = 500  # characters of a reply in the list of failures
_MOST_OBJECTS = 1000  # places in a reply where JSON may begin; a hostile one could have a million
_DECODER = json.JSONDecoder(strict=False)  # takes line breaks within a string, which small models write
_NAME = "(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection|analysis)"
_OPENED, _CLOSED = (rf"(?:<{mark}{_NAME}>|\[{mark}THINK\]|◁{mark}think▷)" for mark in ("", "/"))
_FLAGS = re.IGNORECASE | re.DOTALL
_THINKING = re.compile(rf"{_OPENED}(?:(?!{_OPENED}).)*?{_CLOSED}", _FLAGS)  # in linear time
_REST_OF_THINKING = re.compile(  # without its beginning, which a chat template may have written; cut off; gpt-oss's
    rf"^.*{_CLOSED}|{_OPENED}.*$|^.*<\|channel\|>final.{{0,99}}?<\|message\|>|<\|channel\|>analysis.*$", _FLAGS
)


# The docstrings of the following forms are part of the JSON schemas in requests: changing one invalidates the cache.
class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)


class Described(_Form):
    """The form of a reply that describes a class."""

    appearance: str
    background: str


class Fact(_Form):
    """One question of type 2."""

    category: str
    question: str
    right: str
    wrong: list[str]


class WrittenQuestion(_Form):
    """The form of a reply that asks about a class."""

    type1: str
    type2: list[Fact]


@cache
def schema_of(form: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a form, cached."""
    return form.model_json_schema()


@dataclass(frozen=True)
class WriterRequest:
    """What is sent. Its key is a hash of everything that the reply depends on, which excludes the address."""

    messages: tuple[ApiMessage, ...]
    form: type[BaseModel]
    settings: Writer
    image: Path | None = None  # goes before the user's first message
    unreadable: str | None = None  # what was wrong with the reply before it, if the form was not found in it

    @cached_property
    def key(self) -> str:
        names = ("backend", "temperature", "max_tokens", "structured")
        asked = {
            **{name: getattr(self.settings, name) for name in names},
            "model": portable(self.settings.model),
            "messages": self.messages,
            "form": schema_of(self.form),
            "image": sha256(self.image) if self.image else None,
            **({"extra_body": extra} if (extra := self.settings.extra_body) else {}),
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The result of a task: a value, or the reason why there is none."""

    value: Any = None
    replies: int = 0
    reason: str | None = None
    last: str | None = None
    asked: tuple[str, ...] = ()  # keys of the requests


@dataclass(frozen=True)
class Task:
    """Something to write about one class: a text (``wording`` is a number) or its questions (None)."""

    subject: Subject
    wording: int | None
    prompt: WriterPrompt
    settings: Writer
    data: dict[str, Any]
    form: type[BaseModel]
    image: Path | None
    faults: Callable[["Task", Any], list[str]]
    rivals: tuple[str, ...] = ()  # looks of other classes from which this one must differ
    values: dict[str, frozenset[str]] = field(default_factory=dict)  # for the columns in `prompt.not_other`

    @property
    def what(self) -> str:
        return "questions" if self.wording is None else f"wording {self.wording}"

    def request(self) -> WriterRequest:
        """The first request."""
        system = self.prompt.system.strip()
        if self.settings.structured != "json_schema" or self.settings.backend == "local":
            schema = json.dumps(schema_of(self.form))
            system += f"\nReply with one JSON object and nothing else. It has to fit this JSON schema: {schema}"
        messages = (
            {"role": "system", "content": system},
            {"role": "user", "content": user_message(self.prompt, self.data)},
        )
        return WriterRequest(messages, self.form, self.settings, self.image)

    def read(self, reply: CachedReply) -> tuple[Any, list[str]]:
        """The value, and its faults."""
        if reply.finish in {"refusal", "content_filter"}:
            return None, [f"the model refused ({reply.finish}): {(reply.text or '')[:200]}".rstrip(": ")]
        if reason := self.only_reasoned(reply):
            return None, [reason]
        try:
            value = _read_form(self.form, _without_thinking(reply.text or ""))
        except ValidationError as error:
            cut = " (cut off at max_tokens)" if reply.finish == "length" else ""
            return None, [f"{fault}{cut}" for fault in _schema_faults(error)]
        return value, self.faults(self, value)

    def only_reasoned(self, reply: CachedReply) -> str | None:
        """Why there is nothing but reasoning, if so, and what helps. Asking again would end in the same way."""
        if _without_thinking(reply.text or "") or reply.finish not in {"length", "reasoning"}:
            return None
        less = "or have it reason less by writer.extra_body (reasoning_effort, or what the server has for it)"
        if reply.finish == "length":
            limit = f"writer.max_tokens ({self.settings.max_tokens})"
            return f"the model spent its whole token limit on reasoning and wrote no reply: raise {limit}, {less}"
        return f"the server sent reasoning but no reply: it took the reply for reasoning; correct its settings, {less}"

    def failure(self, outcome: Outcome) -> Failure:
        one = self.subject
        last = outcome.last[:REPLY_KEPT] if outcome.last else None
        reason = (outcome.reason or "unknown").strip()
        return Failure(
            class_id=one.class_id, name=one.name, what=self.what, reason=reason, replies=outcome.replies, reply=last
        )


def conversation(task: Task) -> Generator[WriterRequest, CachedReply, Outcome]:
    """Ask, and ask again with the faults listed, until a reply fits or ``settings.reasks`` is used up."""
    request = task.request()
    for replies in range(1, task.settings.reasks + 2):
        reply = yield request
        value, faults = task.read(reply)
        if not faults:
            return Outcome(value, replies)
        if task.only_reasoned(reply):
            break
        told = "\n".join(f"- {fault}" for fault in faults)
        again = f"This cannot be used:\n{told}\nGive the whole reply again, in the same form, with this put right."
        said = _without_thinking(reply.text or "") or "(nothing)"
        unreadable = "; ".join(faults) if value is None else None
        turns = ({"role": "assistant", "content": said}, {"role": "user", "content": again})
        request = replace(request, messages=(*request.messages, *turns), unreadable=unreadable)
    return Outcome(None, replies, "; ".join(faults), reply.text)


def _vocabulary(every: Sequence[Subject], column: str) -> frozenset[str]:
    """All values of one column of the facts table."""
    return frozenset(value for one in every if (value := {**one.appearance, **one.facts}.get(column)))


def text_tasks(
    every: Sequence[Subject], prompts: Mapping[str, WriterPrompt], settings: Writer, folder: Path, wordings: int
) -> list[Task]:
    """One task per class and wording. ``prompts``: by the class's domain; ``folder`` holds the images."""
    columns = {column for prompt in prompts.values() for column in prompt.not_other}
    values = {column: _vocabulary(every, column) for column in columns}
    return [
        Task(
            subject=one,
            wording=wording,
            prompt=prompts[one.domain],
            settings=settings,
            data=_data(one, settings, wording=wording, wordings=wordings),
            form=Described,
            image=_shown(one, settings, folder),
            faults=_text_faults,
            values={column: values[column] for column in prompts[one.domain].not_other},
        )
        for one in every
        for wording in range(wordings)
    ]


def question_tasks(
    every: Sequence[Subject], prompts: Mapping[str, WriterPrompt], settings: Writer, folder: Path, most: int
) -> list[Task]:
    """One task per class that has images to ask about, each with at most ``most`` questions of type 2."""
    counts = {one.class_id: max([sum(split == s for s, _ in one.asked) for split in ("test", "dev")]) for one in every}
    return [
        Task(
            subject=one,
            wording=None,
            prompt=prompts[one.domain],
            settings=settings,
            data=_data(one, settings, count=min(most, counts[one.class_id])),
            form=WrittenQuestion,
            image=_shown(one, settings, folder),
            faults=_question_faults,
        )
        for one in every
        if one.asked
    ]


def _data(one: Subject, settings: Writer, **more: int) -> dict[str, Any]:
    table = {**one.appearance, **one.facts}
    known = {
        "name": one.name,
        "call_it": one.refers,
        "other_names": list(one.aliases),
        "category": one.category,
        "facts": table,
    }
    return {**{k: v for k, v in known.items() if v}, "language": settings.language, **more}


def _shown(one: Subject, settings: Writer, folder: Path) -> Path | None:
    return folder / one.image if settings.with_image and one.image else None


def _text_faults(task: Task, said: Described) -> list[str]:
    one, prompt = task.subject, task.prompt
    table, names = {**one.appearance, **one.facts}, (one.name, *one.aliases)
    found: list[str] = []
    for name, text in (("appearance", said.appearance), ("background", said.background)):
        found += checks.length_faults(name, text, *prompt.length[name]) + checks.mark_faults(name, text)
        found += checks.name_faults(name, text, names, prompt.name[name], prompt.generic)
    both = f"{said.appearance} {said.background}"
    found += checks.language_faults(both, task.settings.language)
    found += checks.fact_faults(said.appearance, table, prompt.must_say)
    for column, values in task.values.items():
        found += checks.contradiction_faults(both, column, table.get(column), values)
    return found + checks.rival_faults(said.appearance, task.rivals)


def _question_faults(task: Task, asked: WrittenQuestion) -> list[str]:
    one, prompt, count = task.subject, task.prompt, task.data["count"]
    found: list[str] = []
    if len(asked.type2) != count:
        found.append(f"type2 has {len(asked.type2)} questions; it must have {count}")
    for text in (asked.type1, *(fact.question for fact in asked.type2)):
        found += checks.length_faults("question", text, *prompt.length["question"])
        found += checks.mark_faults("question", text)
        found += checks.name_faults("question", text, (one.name, *one.aliases), prompt.name["question"], prompt.generic)
    for fact in asked.type2:
        found += checks.option_faults(fact.right, fact.wrong)
        for option in (fact.right, *fact.wrong):
            found += checks.length_faults("option", option, *prompt.length["option"])
            found += checks.mark_faults("option", option)
        found += [] if fact.category else ["category is empty"]
    return found


def _without_thinking(text: str) -> str:
    """What a reasoning model says after its reasoning, where the server left both in one text."""
    return _REST_OF_THINKING.sub("", _THINKING.sub("", text)).strip("\ufeff \t\r\n")


def _read_form(form: type[BaseModel], text: str) -> Any:
    """The last JSON object in a text that fits the form, whatever stands around it: prose, fences, an array, a draft.

    Raises ``ValidationError``, which is about the last whole object that is in no other one.
    """
    at = outer_end = 0
    value, outer = None, text[max(0, text.find("{")) :]
    for _ in range(_MOST_OBJECTS):
        if (at := text.find("{", at)) < 0:
            break
        try:
            found, end = _DECODER.raw_decode(text, at)
            again = json.dumps(found)
        except (ValueError, RecursionError):
            at += 1
            continue
        outer = again if at >= outer_end else outer
        outer_end = max(outer_end, end)
        try:
            value, at = form.model_validate_json(again), end
        except ValidationError:
            at += 1
    return form.model_validate_json(outer) if value is None else value


def _schema_faults(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'the reply'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
