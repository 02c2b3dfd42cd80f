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
from helpers.writer.budget import Account, Price, expected_tokens, most_tokens, priced_image_tokens
from helpers.writer.cache import Cache, CachedReply
from helpers.writer.conversation import WriterRequest, schema_of

IMAGE_PIXELS = 1024 * 1024  # a larger image is scaled down before it is sent
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # pauses between attempts grow from the first to the second
LONGEST_WAIT_S = 600.0  # if a server asks for a longer pause, the run stops
REPEATED = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # statuses that may be temporary
SAME_FOR_ALL = {401, 403, 404, 405}  # statuses that the next request would get too
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
            raise self._given_up(str(error)) from None
        self._failed = 0
        return reply

    def _given_up(self, reason: str) -> Exception:
        self._failed += 1
        if self._failed >= FAILED_IN_A_ROW:
            return WriterError(
                f"{self._failed} requests in a row failed, the last with: {reason}. Check the server at "
                f"{self.settings.base_url} and run again; what was written is kept"
            )
        return Unanswered(reason)

    async def _attempt(self, request: WriterRequest) -> CachedReply:
        texts = [message["content"] for message in request.messages]
        body, size = _body(request)
        seen = priced_image_tokens(self.price, *size) if size else 0
        await self._turn(expected_tokens(texts) + seen + self.settings.max_tokens)
        most = self.price.cost(most_tokens(texts) + seen, self.settings.max_tokens)
        await self.account.room_for(most)
        with self.account.promised(most) as bill:
            try:
                response = await self._post(body)
            except NotSent as error:
                bill.cost = 0
                raise Passing(str(error)) from None
            except Lost as error:
                self._store_lost(request, most)
                raise Passing(str(error)) from None
            except WriterError:
                bill.cost = 0
                raise
            if response.status_code != 200:
                bill.cost = 0
                raise self._refused(response)
            reply = self._read(request, response, expected_tokens(texts) + seen)
            if reply is None:
                self._store_lost(request, most)
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
        """The exception for a status that is not 200."""
        # Shortened only after the key is removed: half a key at the end would not be recognised
        status, said = response.status_code, self._clean(_message(response))[:REASON_KEPT]
        told = f"status {status}: {said}"
        if status in SAME_FOR_ALL or "insufficient_quota" in response.text:
            return WriterError(
                f"{self.settings.base_url} refuses the request, {told}. Check the key in the environment variable "
                f"{self.settings.key_variable}, the model {self.settings.model!r}, the address and the account"
            )
        if status not in REPEATED:
            return Unanswered(told)
        pause = retry_after(response.headers.get("retry-after", ""))
        if pause is not None and pause > LONGEST_WAIT_S:
            return WriterError(
                f"the server asks to wait {pause:.0f} s, {told}. Run again then; what is written is kept"
            )
        return Passing(told, pause)

    def _read(self, request: WriterRequest, response: httpx2.Response, estimate: int) -> CachedReply | None:
        """None if it is not a chat completion. If the server counts no tokens, the estimate is used."""
        try:
            answer = response.json()
            choice = answer["choices"][0]
            message, usage = choice["message"], answer.get("usage") or {}
            refusal = message.get("refusal")
            text = str(refusal or message.get("content") or "")
            finish = str(choice.get("finish_reason") or "stop").encode("ascii", "replace").decode()
            tokens_in = int(usage.get("prompt_tokens", estimate))
            tokens_out = int(usage.get("completion_tokens", expected_tokens([text])))
            return CachedReply(
                request=request.key,
                model=self.settings.model,
                text=self._redact(text),
                finish="refusal" if refusal else self._redact(finish),
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cost=self.price.cost(tokens_in, tokens_out),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
            return None  # also if a count is negative or a text has half a character, which no row can hold

    def _store_lost(self, request: WriterRequest, most: float) -> None:
        """The request may have been processed, and be billed."""
        model = self.settings.model
        lost = CachedReply(
            request=request.key, model=model, text=None, finish="lost", tokens_in=0, tokens_out=0, cost=most
        )
        self.cache.add(lost)

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
        )
    except (httpx2.InvalidURL, ValueError, ImportError):  # ImportError: SOCKS without its package
        raise WriterError(
            "the address of a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: write it as "
            "http://user:password@host:port, with @, /, : and the like in the password percent-encoded (%40, %2F, %3A)"
        ) from None


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


def _message(response: httpx2.Response) -> str:
    """The server's reason for a refusal; half a character, which no row can hold, becomes a question mark."""
    try:
        said = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = response.text
    return said.encode(errors="replace").decode().strip() or "no reason given"


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
    body |= {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return body | _response_format(request), size


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
