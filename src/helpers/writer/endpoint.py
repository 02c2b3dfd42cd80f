"""Any endpoint with OpenAI's chat-completions API: OpenAI itself, vLLM, Ollama, llama.cpp, ...

httpx2 makes the only kind of call that is needed, tenacity repeats it, and aiolimiter paces it; the project needs the
first two anyway. The `openai` package retries on its own, out of sight of budget and rate limits. Servers differ
slightly; this code relies only on what all of them support.

The key is read from the environment, checked before anything is sent (`read_key`), kept in the HTTP client's header,
and removed from every reply and message (`helpers.workflow.redact`). Failures of the HTTP library are reworded, since
it repeats a header that it refuses.
"""

import asyncio
import base64
import io
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from helpers.config.writer import Writer
from helpers.images import open_image
from helpers.workflow.http_dates import retry_after
from helpers.workflow.redact import Redactor, name_key
from helpers.writer.budget import Account, Bill, Price, expected_tokens, most_tokens, priced_image_tokens
from helpers.writer.cache import Cache, CachedReply
from helpers.writer.conversation import WriterRequest, schema_of

IMAGE_PIXELS = 1024 * 1024  # a larger image is scaled down before it is sent
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # pauses between attempts grow from the first to the second
LONGEST_WAIT_S = 600.0  # if a server asks for a longer pause, the run stops
REPEATED = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # statuses that may be temporary
SAME_FOR_ALL = {401, 403, 404, 405}  # statuses that the next request would get too
SAME_CODES = ("insufficient_quota", "invalid_api_key", "model_not_found")  # likewise, under whatever status
INVALID = ("invalid_request_error", "BadRequestError", "context_length_exceeded")  # never temporary
NOT_TAKEN = ("unsupported_parameter", "unsupported_value")  # a setting that the model refuses
MOST_TOKENS = 10**9  # in one request; a higher count is none
_REASONED = ("completion_tokens_details", "reasoning_tokens")  # where a server counts hidden reasoning
REASON_KEPT = 300  # characters of a server's reason for a refusal
FAULTS_OF_A_KEY = {  # what a key copied from a file or document often contains, but no real key does
    "a byte order mark": "\ufeff|\xef\xbb\xbf|\xff\xfe|\xfe\xff",
    "a line break": "[\n\r\x0b\x0c\x85\u2028\u2029]",
    "a typographic quote": "[\u2018-\u201f\u2039\u203a\u00ab\u00bb\u300c-\u300f\uff02\uff07]",
    "blanks": "[ \t\xa0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000]",
    "a control character": "[\x00-\x08\x0e-\x1f\x7f]",
    "a non-ASCII character": "[^\x00-\x7f]",
}
FAILURES = (  # of the HTTP library, specific ones before general ones
    (httpx2.ConnectTimeout, "no connection in time"),
    (httpx2.PoolTimeout, "no connection was free in time"),
    (httpx2.ProxyError, "no connection through the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"),
    (httpx2.ConnectError, "no connection"),
    (httpx2.TimeoutException, "connection cut: no byte came or went in time"),
    (httpx2.RemoteProtocolError, "connection cut: the server hung up, or does not speak HTTP"),
    (httpx2.DecodingError, "connection cut: the answer's compression is broken"),
    (httpx2.HTTPError, "connection cut"),
)
FAILED_IN_A_ROW = 8  # permanently failed requests with no answer in between, after which the server counts as broken


class WriterError(RuntimeError):
    """Nothing more can be written; the message says why, and what helps. Earlier results are in the cache."""


class Unanswered(Exception):
    """One request failed permanently; the others may succeed."""


class Passing(Exception):
    """An attempt failed, perhaps only temporarily."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Endpoint:
    """A server. ``ask`` retries, paces, pays and stores; use it in an ``async with`` block."""

    def __init__(self, settings: Writer, price: Price, cache: Cache) -> None:
        self.settings, self.price, self.cache = settings, price, cache
        self.account = Account(settings.budget, cache.spent)
        key = read_key(settings)
        if not key and urlsplit(settings.base_url).hostname == "api.openai.com":
            raise WriterError(
                f"{settings.base_url} needs a key: set the environment variable "
                f"{settings.key_variable or 'OPENAI_API_KEY'} (never a setting or a notebook), or give "
                "writer.base_url for your own server"
            )
        self._redact = Redactor()
        self._http = _client(settings, key)
        self._requests = _paced(settings.requests_per_minute)
        self._tokens = _paced(settings.tokens_per_minute)
        self._failed = 0
        self.stopped: WriterError | None = None  # once set, no request starts, and those under way are waited for

    async def __aenter__(self) -> "Endpoint":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, request: WriterRequest) -> CachedReply:
        """The reply, stored. Raises `Unanswered`, `OverBudget` or `WriterError`."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_attempt(1 + self.settings.retries),
            wait=_pause,
            reraise=True,
        )
        try:
            reply: CachedReply = await attempts(self._attempt, request)
        except (Passing, Unanswered) as error:
            self._failed += 1
            if self._failed < FAILED_IN_A_ROW:
                raise Unanswered(str(error)) from None
            self.stopped = self.stopped or self._broken(str(error))
            raise self.stopped from None
        except WriterError as error:
            self.stopped = self.stopped or error
            raise
        self._failed = 0
        return reply

    def _broken(self, reason: str) -> WriterError:
        return WriterError(
            f"{self._failed} requests in a row failed, the last with: {reason}. Check the server at "
            f"{self.settings.base_url} and run again; what was written is kept"
        )

    async def _attempt(self, request: WriterRequest) -> CachedReply:
        texts = [message["content"] for message in request.messages]
        body, size = _body(request)
        seen = priced_image_tokens(self.price, *size) if size else 0
        expected = expected_tokens(texts) + seen
        await self._turn(expected + self.settings.max_tokens)
        most = self.price.cost(most_tokens(texts) + seen, self.settings.max_tokens)
        await self.account.room_for(most)
        if self.stopped:
            raise self.stopped
        with self.account.promised(most) as bill:
            sent = asyncio.create_task(self._sent(request, body, expected, bill))
            try:
                return await asyncio.shield(sent)
            except asyncio.CancelledError:
                if not self.stopped:
                    sent.cancel()  # somebody interrupts the run, and does not want to wait
                await asyncio.wait([sent])
                _ = sent.cancelled() or sent.exception()  # else asyncio would report it
                raise

    async def _sent(self, request: WriterRequest, body: dict[str, Any], expected: int, bill: Bill) -> CachedReply:
        """Send, read, pay and store: the part of an attempt that a stop does not cut short."""
        try:
            response = await self._post(body)
        except NotSent as unsent:
            bill.cost = 0
            raise Passing(str(unsent)) from None
        except Lost as lost:
            self._store_lost(request, bill)
            raise Passing(str(lost)) from None
        except asyncio.CancelledError:
            self._store_lost(request, bill)
            raise
        except WriterError:
            bill.cost = 0
            raise
        answer = _json(response)
        if _error_in(answer) or response.status_code != 200:
            self._store_refused(request, answer, bill)
            raise self._refused(response)
        reply = self._read(request, answer, expected)
        if reply is None:
            self._store_lost(request, bill)
            raise Passing("the server's answer is not a chat completion")
        bill.cost = reply.cost
        self.cache.add(reply)
        return reply

    async def _turn(self, tokens: int) -> None:
        await self._requests.acquire()
        while tokens > 0:  # at most a second's worth at a time, so that a large request waits longer
            piece = min(float(tokens), self._tokens.max_rate)
            await self._tokens.acquire(piece)
            tokens -= int(max(1, piece))

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        """The timeout covers everything up to the last byte: httpx alone would wait forever for single bytes."""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._http.post(f"{self.settings.base_url}/chat/completions", json=body)
        except TimeoutError:
            raise Lost(f"no answer within {self.settings.timeout_s:g} s") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            raise NotSent(_in_our_words(error)) from None
        except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL, UnicodeError) as error:
            raise WriterError(
                f"no request can be made for {self.settings.base_url} ({type(error).__name__}), and nothing was sent: "
                f"check writer.base_url and the key in the environment variable {self.settings.key_variable}"
            ) from None
        except httpx2.HTTPError as error:
            raise Lost(_in_our_words(error)) from None

    def _refused(self, response: httpx2.Response) -> Exception:
        """The exception for a status that is not 200, or for an error that a status of 200 hides."""
        error = _error_in(_json(response))
        # Shortened only after the key is removed: half a key at the end would not be recognised
        said = self._clean(_reason(error) or _whole(response.text) or "no reason given")[:REASON_KEPT]
        status = (_status(error) if response.status_code == 200 else None) or response.status_code
        told = f"status {status}: {said}"
        codes = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
        if any(code in NOT_TAKEN for code in codes):
            return WriterError(
                f"{self.settings.model!r} does not take what is sent, {told}. Correct writer.token_limit_name, "
                "writer.temperature (null: not sent), writer.structured or writer.extra_body"
            )
        if status in SAME_FOR_ALL or any(code in SAME_CODES for code in codes):
            return WriterError(
                f"{self.settings.base_url} refuses the request, {told}. Check the key in the environment variable "
                f"{self.settings.key_variable}, the model {self.settings.model!r}, the address and the account"
            )
        if status not in {*REPEATED, 200} or (status == 200 and any(code in INVALID for code in codes)):
            return Unanswered(told)
        pause = retry_after(response.headers.get("retry-after", ""))
        if pause is not None and pause > LONGEST_WAIT_S:
            return WriterError(
                f"the server asks to wait {pause:.0f} s, {told}. Run again then; what is written is kept"
            )
        return Passing(told, pause)

    def _read(self, request: WriterRequest, answer: Any, expected: int) -> CachedReply | None:
        """None if it is not a chat completion. ``expected``: tokens of the request, if the server counts none."""
        try:
            choice = answer["choices"][0]
            message, usage = choice["message"], answer.get("usage")
            text, refusal = _text_of(message.get("content"))
            refusal = message.get("refusal") or refusal
            reasoning = _text_of(message.get("reasoning_content") or message.get("reasoning"))[0]
            finish = str(choice.get("finish_reason") or "stop").encode("ascii", "replace").decode()
            if not text and finish == "stop" and (reasoning or _count(usage, *_REASONED)):
                finish = "reasoning"
            text, counted = str(refusal or text), _counted(usage)
            counted = None if counted and text and not counted[1] else counted
            tokens_in, tokens_out = counted or (expected, expected_tokens([reasoning + text]))
            return CachedReply(
                request=request.key,
                model=self.settings.model,
                text=self._redact(text),
                finish="refusal" if refusal else self._redact(finish),
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cost=self.price.cost(tokens_in, tokens_out),
                estimated=counted is None,
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
            return None  # also if a text has half a character, which no row can hold

    def _store_lost(self, request: WriterRequest, bill: Bill) -> None:
        """The request may have been processed, and be billed as the most that it could cost."""
        self._store_unanswered(request, "lost", (0, 0), bill)

    def _store_refused(self, request: WriterRequest, answer: Any, bill: Bill) -> None:
        """A refusal costs nothing, unless the server counts tokens for it."""
        counted = _counted(answer.get("usage")) if isinstance(answer, dict) else None
        bill.cost = self.price.cost(*counted) if counted else 0
        if counted:
            self._store_unanswered(request, "error", counted, bill)

    def _store_unanswered(self, request: WriterRequest, finish: str, tokens: tuple[int, int], bill: Bill) -> None:
        self.cache.add(
            CachedReply(
                request=request.key,
                model=self.settings.model,
                text=None,
                finish=finish,
                tokens_in=tokens[0],
                tokens_out=tokens[1],
                cost=bill.cost,
            )
        )

    def _clean(self, text: str) -> str:
        """The text without secrets, and without the part of a key that some servers show."""
        return re.sub(r"\bsk-[\w*.-]{4,}", "[key]", self._redact(text))


class NotSent(Exception):
    """The request did not reach the server."""


class Lost(Exception):
    """The request may have reached the server; its answer did not come."""


def read_key(settings: Writer) -> str | None:
    """The key from the environment; None if no variable is named, or if it is unset or empty.

    Nothing is trimmed: where a line break came along, more may have, and the next program would not trim either. Raises
    `WriterError` for anything that a header cannot hold unchanged, naming the fault but no part of the key.
    """
    name_key(settings.key_variable)
    key = os.environ.get(settings.key_variable, "") if settings.key_variable else ""
    if faults := list(_faults_of_key(key)):
        raise WriterError(
            f"the environment variable {settings.key_variable} holds no key that can be sent: there is "
            f"{', '.join(faults)}. A key is printable ASCII without blanks. Set it again, as plain text. From a file: "
            f"export {settings.key_variable}=\"$(LC_ALL=C tr -cd '[:graph:]' < FILE)\". Nothing was sent"
        )
    return key or None


def _faults_of_key(key: str) -> Iterator[str]:
    """Each kind of fault with its position, such as "a line break at its end"."""
    if key and not key.strip():
        yield "nothing but blanks in it"
        return
    first = len(key) - len(re.sub("^[^!-~]+", "", key))
    last = len(re.sub("[^!-~]+$", "", key))
    explained: set[int] = set()
    for fault, pattern in FAULTS_OF_A_KEY.items():
        places = {at for found in re.finditer(pattern, key) for at in range(*found.span())} - explained
        explained |= places
        parts = {"at its beginning" if at < first else "at its end" if at >= last else "inside it" for at in places}
        if parts:
            yield f"{fault} {' and '.join(sorted(parts))}"


def _client(settings: Writer, key: str | None) -> httpx2.AsyncClient:
    try:
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.timeout_s,
            limits=httpx2.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
            mounts=_without_proxy(settings.base_url),
        )
    except (httpx2.InvalidURL, ValueError, ImportError):  # ImportError: SOCKS without its package
        raise WriterError(
            "the address of a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: write it as "
            "http://user:password@host:port, with @, /, : and the like in the password percent-encoded (%40, %2F, %3A)"
        ) from None


def _without_proxy(address: str) -> dict[str, None]:
    """This machine's own server is asked directly: a proxy's "localhost" is the proxy, and it would see the key."""
    own = re.match(r"\w+://(localhost|127(?:\.\d+){3}|\[::1\])(?=[:/]|$)", address, re.IGNORECASE)
    return {f"all://{own[1].lower()}": None} if own else {}


def _in_our_words(error: httpx2.HTTPError) -> str:
    """A failure of the HTTP library, reworded; for a connection, with the system's reason."""
    said = next(words for kind, words in FAILURES if isinstance(error, kind))
    reason = next(filter(None, map(_system_reason, _causes(error))), None)
    return f"{said}: {reason}" if reason else said


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from _causes(part)
        error = error.__cause__ or error.__context__


def _system_reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "no agreement on encryption (is it http, not https?)"
    if isinstance(error, socket.gaierror):
        return "no server of that name is known here"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None


def _paced(a_minute: int) -> AsyncLimiter:
    """Evenly, a second's worth at a time; a bucket for a whole minute would allow twice as much at the start."""
    at_once = max(1.0, a_minute / 60)
    return AsyncLimiter(at_once, at_once * 60 / a_minute)


def _pause(state: RetryCallState) -> float:
    """The pause that the server asks for, else a random one that grows."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "pause", None)
    grown = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)(state)
    return float(grown if asked is None else asked)


def _json(response: httpx2.Response) -> Any:
    """What the body says; None if it is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _error_in(answer: Any) -> Any:
    """The error that a body holds, in any of the forms that servers use; None if it holds none."""
    if isinstance(answer, list):  # Gemini
        answer = answer[0] if answer else None
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    whole = answer if not choices and answer.keys() & {"message", "detail"} else None  # vLLM; FastAPI
    return answer.get("error") or first.get("error") or whole


def _reason(error: Any) -> str:
    """The reason that an error gives; behind a gateway, also that of the server behind it (OpenRouter)."""
    if isinstance(error, dict):
        inner = error.get("metadata")
        said = [error.get("message") or error.get("detail"), inner.get("raw") if isinstance(inner, dict) else None]
        error = ": ".join(text if isinstance(text, str) else json.dumps(text) for text in said if text)
    return _whole(error) if isinstance(error, str) else ""


def _whole(text: str) -> str:
    """Half a character, which no row can hold, becomes a question mark."""
    return text.encode(errors="replace").decode().strip()


def _status(error: Any) -> int | None:
    """The status that an error in an answer of status 200 would have had, if it says so."""
    given = [error.get("code"), error.get("status")] if isinstance(error, dict) else []
    return next((int(code) for code in map(str, given) if re.fullmatch("[45][0-9][0-9]", code)), None)


def _text_of(content: Any) -> tuple[str, str]:
    """The text and the refusal in a message's content: a text, a list of parts, or the object that was asked for."""
    if isinstance(content, dict) and not content.keys() & {"type", "text"}:
        content = json.dumps(content)
    parts = content if isinstance(content, list) else [] if content is None else [content]
    known = [part if isinstance(part, dict) else {"text": part} for part in parts]
    said = [part for part in known if part.get("type") in (None, "text", "output_text")]  # and not, say, "thinking"
    refusals = [str(part["refusal"]) for part in known if part.get("refusal")]
    return "".join(str(part["text"]) for part in said if "text" in part), "".join(refusals)


def _count(usage: Any, *names: str) -> int | None:
    """One of the counts of tokens; None if it is missing or is no count."""
    for name in names:
        usage = usage.get(name) if isinstance(usage, dict) else None
    whole = isinstance(usage, int | float) and not isinstance(usage, bool) and 0 <= usage < MOST_TOKENS
    return int(usage) if whole and usage == int(usage) else None


def _counted(usage: Any) -> tuple[int, int] | None:
    """Tokens in and out; None unless the server counted both. A request has at least one token."""
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return (tokens_in, tokens_out) if tokens_in and tokens_out is not None else None


def _body(request: WriterRequest) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The body of the call, and the size of its image, if any."""
    messages: list[dict[str, Any]] = [dict(message) for message in request.messages]
    size = None
    if request.image:
        url, size = data_url(request.image)
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": messages[1]["content"]}]
        messages[1]["content"] = parts
    settings = request.settings
    body: dict[str, Any] = {"model": settings.model, "messages": messages}
    body |= {} if settings.temperature is None else {"temperature": settings.temperature}
    body |= {settings.token_limit_name: settings.max_tokens}
    return body | _response_format(request) | settings.extra_body, size


def _response_format(request: WriterRequest) -> dict[str, Any]:
    if request.settings.structured == "none":
        return {}
    if request.settings.structured == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": request.form.__name__, "strict": True, "schema": schema_of(request.form)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def data_url(path: Path) -> tuple[str, tuple[int, int]]:
    """The image as sent (JPEG, at most a megapixel), and its size."""
    image = open_image(path, IMAGE_PIXELS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", image.size
