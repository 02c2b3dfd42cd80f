"""What a server or a model answers when it is broken or hostile: taken, asked again or refused, and never a crash."""

import json
import os
from types import SimpleNamespace
from unittest import mock

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.config.writer import Writer
from helpers.domains import commons
from helpers.domains.interface import Subject
from helpers.workflow.redact import Redactor
from helpers.writer.budget import Price
from helpers.writer.cache import CachedReply
from helpers.writer.conversation import Described, Task
from helpers.writer.endpoint import Endpoint, _json
from helpers.writer.outcome import Failure
from helpers.writer.prompts import load_prompt

FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)
KEY = "a-key-of-the-environment"


def endpoint() -> Endpoint:
    made = Endpoint.__new__(Endpoint)
    made.settings, made.price = Writer(), Price(1, 1)
    with mock.patch.dict(os.environ, OPENAI_API_KEY=KEY):
        made._redact = Redactor()
    return made


def read(body: str) -> CachedReply | None:
    return endpoint()._read(SimpleNamespace(key="k"), _json(httpx2.Response(200, content=body.encode())), 10)


def answer(content: object = "x", usage: object = None, **choice) -> str:
    message = {"message": {"content": content}, "finish_reason": "stop", **choice}
    return json.dumps({"choices": [message], "usage": usage})


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "null", "7", "[]", "{}", '{"choices": []}', '{"choices": null}', '{"choices": [null]}'),
        *('{"choices": [{}]}', '{"choices": [{"message": null}]}', '{"choices": [{"message": 7}]}', "[" * 10**5),
        answer("half a character \ud800"),
    ],
)
def test_an_answer_that_is_no_chat_completion_is_taken_for_none(body):
    assert read(body) is None


@pytest.mark.parametrize(
    "usage",
    [
        *("null", "7", "[]", "{}", '{"prompt_tokens": 9}', '{"completion_tokens": 9}', '"9"'),
        '{"prompt_tokens": null, "completion_tokens": null}',
        '{"prompt_tokens": 0, "completion_tokens": 0}',
        '{"prompt_tokens": 9, "completion_tokens": 0}',  # of a reply that has words
        *(f'{{"prompt_tokens": 9, "completion_tokens": {count}}}' for count in ("-1", "[1]", '"9"', "1e999", "NaN")),
        *(f'{{"prompt_tokens": {count}, "completion_tokens": 9}}' for count in ("-1", "1.5", "true", "1e12")),
    ],
)
def test_a_reply_whose_tokens_are_not_counted_is_taken_and_booked_as_estimated(usage):
    reply = read(answer("eight letters").replace('"usage": null', f'"usage": {usage}'))
    out = 4 + 8  # 13 bytes, and what a message adds
    assert (reply.text, reply.estimated, reply.tokens_in, reply.tokens_out) == ("eight letters", True, 10, out)
    assert reply.cost == (10 + out) / 1e6


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": '{"a": '}, {"type": "text", "text": "1}"}], '{"a": 1}'),
        (
            [{"type": "output_text", "text": "a"}, {"type": "thinking", "thinking": [{"text": "b"}]}],
            "a",
        ),
        ([{"text": "a"}, "b", {"type": "reasoning", "text": "c"}, {"type": None, "text": "d"}], "abd"),
        ({"type": "text", "text": "a"}, "a"),
        ({"a": 1}, '{"a": 1}'),
        ([], ""),
        (None, ""),
        (7, "7"),
    ],
)
def test_the_text_of_a_message_is_found_in_whatever_form_it_comes(content, text):
    assert read(answer(content)).text == text


def test_half_a_character_where_a_server_says_why_it_stopped_is_kept_as_a_question_mark():
    reply = read(answer(finish_reason="\ud800"))
    assert reply is not None
    assert reply.finish == "?"


def test_a_key_that_a_server_says_back_is_struck_out():
    reply = read(answer(f"your key is {KEY}"))
    assert reply is not None
    assert reply.text == "your key is <OPENAI_API_KEY>"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>busy</html>", "<html>busy</html>"),
        (b" ", "no reason given"),
        (b'{"error": "busy"}', "busy"),
        (b'[{"error": {"code": 400, "message": "no such model"}}]', "no such model"),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
        (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', '[{"loc": ["body"], "msg": "bad"}]'),
        (
            b'{"error": {"message": "Provider failed", "metadata": {"raw": "busy"}}}',
            "Provider failed: busy",
        ),
        (b'{"error": {"code": {}}}', '{"error": {"code": {}}}'),
        (b"[" * 10**5, "[" * 300),
        (b'{"error": {"message": "half \\ud800"}}', "half ?"),
        (f"{'x' * 290} {KEY}".encode(), "x" * 290 + " <OPENAI_A"),  # struck out before it is cut, else half would stay
    ],
)
def test_whatever_a_server_says_of_its_refusal_is_told_and_can_be_kept(body, told):
    reason = str(endpoint()._refused(httpx2.Response(400, content=body)))
    assert reason == f"status 400: {told}"
    assert Failure(class_id="a", name="A", what="questions", reason=reason, replies=0, reply=None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@FEW
@given(JSON, JSON, JSON)
def test_whatever_a_server_answers_is_a_reply_or_none(content, tokens, finish):
    usage = {"prompt_tokens": tokens, "completion_tokens": 1}
    reply = read(answer(content, usage, finish_reason=finish))
    assert reply is None or (KEY not in str(reply.text) and reply.cost >= 0)
    assert reply is None or CachedReply.model_validate_json(reply.model_dump_json()) == reply


def task() -> Task:
    one = Subject("own", "a", "Aurelia", "the Aurelia")
    return Task(one, 0, load_prompt("generic"), Writer(), {}, Described, None, lambda *_: [])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "the reply: Invalid JSON"),
        ("Sure! Here it is:", "the reply: Invalid JSON"),
        ("```json\n{}\n```", "appearance: Field required"),
        ("[]", "the reply: Input should be an object"),
        ('{"appearance": "a"}', "background: Field required"),
        ('{"appearance": 7, "background": "b"}', "appearance: Input should be a valid string"),
        ('{"appearance": "a", "background": "b", "ghost": 1}', "ghost: Extra inputs are not permitted"),
        ('{"appearance": "\\ud800", "background": "b"}', "the reply: Invalid JSON"),
        ("[" * 10**5, "the reply: Invalid JSON: recursion limit"),
    ],
)
def test_a_reply_that_does_not_fit_is_told_to_the_model_by_field_and_rule(text, rule):
    reply = CachedReply(request="k", model="m", text=text, finish="stop", tokens_in=1, tokens_out=1, cost=0.0)
    value, faults = task().read(reply)
    assert value is None
    assert any(fault.startswith(rule) for fault in faults)


@FEW
@given(st.text(max_size=99) | JSON.map(json.dumps))
def test_any_reply_is_read_or_its_faults_are_told(text):
    reply = CachedReply(request="k", model="m", text=text, finish="length", tokens_in=1, tokens_out=1, cost=0.0)
    value, faults = task().read(reply)
    assert value is not None or faults


# ---- Wikimedia Commons ---------------------------------------------------------------------------------------------

FREE = {"LicenseShortName": {"value": "CC0"}}
GOOD_PAGE = {"title": "File:A.png", "index": 2, "imageinfo": [{"url": "https://x/a.png", "extmetadata": FREE}]}


@pytest.mark.parametrize(
    "odd",
    [
        *({"index": "first"}, {"index": None}, {"title": 7}, {"imageinfo": 7}, {"imageinfo": {"a": 1}}),
        *({"imageinfo": [7]}, {"imageinfo": [{"extmetadata": 7}]}, {"imageinfo": [{"url": 7}]}),
    ],
    ids=str,
)
def test_a_page_that_is_none_is_passed_over_and_the_others_are_taken(odd):
    pages = commons._pages({"query": {"pages": [GOOD_PAGE | odd, GOOD_PAGE, 7, None]}})
    assert [page["title"] for page in pages] == ["File:A.png"]


@pytest.mark.parametrize("reply", [{}, {"query": 7}, {"query": []}, {"query": {"pages": 7}}, {"query": {"pages": {}}}])
def test_an_answer_without_pages_has_none(reply):
    assert commons._pages(reply) == []


def test_an_answer_nested_without_end_is_asked_for_again():
    with pytest.raises(commons.Unavailable, match="something that is not JSON"):
        commons._reply(SimpleNamespace(request=None), b"[" * 10**5, "https://x")


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc", "https://x/ y", 7, None, "https://x/\ud800 "])
def test_where_a_page_should_be_and_no_address_is_nothing_is_written_down(link):
    assert commons._link(link) == ""


def test_half_a_character_in_an_address_is_a_picture_that_is_not_taken():
    with commons._Commons(commons.Manners(user_agent="test (me@example.org)")) as asked, pytest.raises(commons.Refused):
        asked.image("\ud800")
