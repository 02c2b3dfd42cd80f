"""Training images for classes without any: from your own folder, or from Wikimedia Commons.

The folder holds ``<class>.jpg`` or ``<class>/*.jpg``, where <class> is the ``class_id`` or the name. Fetching fills
such a folder and records each image's author and licence in ``attribution.csv``, as most licences require. Images that
look like a test image are never used: K-VISCUIT's photographs are from the web too.

    python -m helpers.domains.commons DATA_FOLDER PICTURE_FOLDER --user-agent 'my-study/1.0 (me@example.org)'

The API: https://www.mediawiki.org/wiki/API:Imageinfo; its etiquette: https://www.mediawiki.org/wiki/API:Etiquette.
"""

import argparse
import contextlib
import csv
import hashlib
import html
import ipaddress
import json
import re
import socket
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import httpx2 as httpx
from pydantic import BaseModel, Field, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from helpers.domains.parquet_source import suffix
from helpers.images import (
    NEAR,
    SUFFIXES,
    bring_image,
    check_image_bytes,
    check_image_file,
    is_near,
    perceptual_hash,
)
from helpers.paths import atomic_write, file_name, resolve, visible
from helpers.rows import read_csv_rows, write_csv_rows
from helpers.schemas import ClassText, read_texts
from helpers.workflow.http_dates import retry_after
from helpers.workflow.splits import QUESTION_SPLITS, open_questions

API = "https://commons.wikimedia.org/w/api.php"
LICENCES = ("CC0", "PD", "CC BY", "CC BY-SA")  # free to use, to change and to pass on
ATTRIBUTION = "attribution.csv"
TRAINING = "pictures/train"  # where a data set keeps them
LARGEST_REPLY = 4 * 2**20  # bytes, from the API
LONGEST_PAUSE = 120.0  # seconds; if the server asks for more, it is better to come back another day


# ---- a folder of images --------------------------------------------------------------------------------------------


def give_images(texts: Iterable[ClassText], source: Path, target: Path) -> Iterator[ClassText]:
    """The texts; each without an image gets one from ``source``, which is put into the data set's folder ``target``.

    The attributions are copied too. If a class has several images, its wordings take turns; a class without any is left
    unchanged. Raises ``ValueError`` for a missing folder and for an unreadable image.
    """
    if not source.is_dir():
        raise ValueError(f"training_images is {str(source)!r}: no such folder; it holds <class>.jpg or <class>/*.jpg")
    if (source / ATTRIBUTION).is_file():
        bring_image(source / ATTRIBUTION, target / ATTRIBUTION)
    found = _by_name(source)
    for text in texts:
        files = found.get(_plain(text.class_id)) or found.get(_plain(text.name))
        if text.image is not None or not files:
            yield text
            continue
        file = files[text.wording % len(files)]
        check_image_file(file)
        path = f"{TRAINING}/{file_name(text.class_id)}-{text.wording}{file.suffix.lower()}"
        bring_image(file, target / path)
        yield text.model_copy(update={"image": path})


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, by the class's name in the form of a file name."""
    found: dict[str, list[Path]] = {}
    for path in visible(folder.iterdir(), folder):
        inside = visible(path.iterdir(), path) if path.is_dir() else [path]
        files = [file for file in inside if file.suffix.lower() in SUFFIXES]
        if files:
            found.setdefault(_plain(path.name if path.is_dir() else path.stem), []).extend(files)
    return found


def _plain(name: str) -> str:
    """File names spell Hangul in two ways, and some systems ignore case."""
    return unicodedata.normalize("NFC", file_name(name)).casefold()


# ---- fetching ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """A row of attribution.csv."""

    keyword: str
    file: str  # in the folder
    title: str  # of its page on Commons
    author: str
    licence: str  # as Commons has it, such as "CC BY-SA 4.0"
    url: str  # of that page
    sha256: str  # of the file


@dataclass(frozen=True)
class Fetched:
    """The result of a run: one row per keyword with an image, and why the others have none."""

    images: list[Attribution]
    missing: dict[str, str]


@dataclass(frozen=True)
class Manners:
    """Which server to ask, how, and what to accept. ``user_agent`` must say how to reach you: an address or a page."""

    user_agent: str
    api: str = API
    licences: Sequence[str] = LICENCES
    width: int = 960  # pixels, at most: images are fetched as thumbnails
    candidates: int = 10  # search results considered per keyword
    requests_per_second: float = 1.0
    tries: int = 5  # per request that fails temporarily
    timeout_s: float = 30.0
    largest: int = 8 * 2**20  # bytes per image
    near: int = NEAR  # bits within which an image counts as a test image
    proxy: str | None = None  # environment variables are ignored
    allow_private: bool = False  # for tests: allow addresses of this machine and its network
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not re.search(r"\S+@\S+\.\S+|https?://\S+\.\S+", self.user_agent):
            raise ValueError(
                f"user_agent is {self.user_agent!r}; Wikimedia asks for a way to reach you, such as "
                "'my-study/1.0 (https://example.org/me; me@example.org)'"
            )
        if unknown := set(self.licences) - set(LICENCES):
            raise ValueError(f"unknown licences {sorted(unknown)}; known: {', '.join(LICENCES)}")
        if min(self.width, self.candidates, self.requests_per_second, self.tries, self.largest) <= 0:
            raise ValueError("width, candidates, requests_per_second, tries and largest must be above 0")


def fetch_images(keywords: Iterable[str], folder: Path, tests: Iterable[Path], manners: Manners) -> Fetched:
    """Fetch one image per keyword from Commons into ``folder``: the first search result that is allowed.

    ``tests`` are the test images. A keyword that has a file in the folder, fetched earlier or your own, is skipped, so
    an interrupted run continues where it stopped. Raises ``ValueError`` for two keywords with the same file name, and
    `Stopped`, `Unavailable` or ``httpx.HTTPError`` if there is no answer; what was fetched is kept.
    """
    wanted = list(dict.fromkeys(keywords))
    _check_names(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {row.keyword: row for row in read_attribution(folder)}
    hashes = [perceptual_hash(path) for path in tests]
    missing: dict[str, str] = {}
    with _Commons(manners) as commons:
        for keyword in wanted:
            if _plain(keyword) in _by_name(folder):
                continue
            if reason := _fetch(keyword, folder, rows, hashes, commons):
                missing[keyword] = reason
    return Fetched([row for row in rows.values() if (folder / row.file).is_file()], missing)


def fetch_several(wanted: Mapping[str, str], each: int, folder: Path, manners: Manners) -> Fetched:
    """Fetch up to ``each`` images per class into ``folder/<class>/``; ``wanted``: what to search for, by class.

    Images that are there, with their row in attribution.csv, are not asked for again, so an interrupted run continues
    where it stopped. Raises as `fetch_images` does.
    """
    _check_names(list(wanted))
    folder.mkdir(parents=True, exist_ok=True)
    rows = {row.keyword: row for row in read_attribution(folder)}
    missing: dict[str, str] = {}
    with _Commons(manners) as commons:
        for name, words in wanted.items():
            numbered = {f"{name} {number}": f"{file_name(name)}/{number}" for number in range(each)}
            lacking = [key for key in numbered if key not in rows or not (folder / rows[key].file).is_file()]
            known = {row.title for row in rows.values()}
            refused: list[str] = []
            for page in commons.search(words) if lacking else []:
                if not lacking:
                    break
                if _words(page.get("title")) in known:
                    continue
                try:
                    _take(page, lacking[0], folder, rows, [], commons, numbered[lacking[0]])
                    lacking.pop(0)
                except Refused as refusal:
                    refused.append(f"{page.get('title')}: {refusal}")
            if lacking:
                missing[name] = "; ".join(refused) or "the search found no further image"
    return Fetched([row for row in rows.values() if (folder / row.file).is_file()], missing)


def read_attribution(folder: Path) -> list[Attribution]:
    """The rows of the folder's attribution.csv; an empty list if there is no such file."""
    path = folder / ATTRIBUTION
    if not path.is_file():
        return []
    try:
        rows = read_csv_rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV in UTF-8 ({error}); put the file back as it was") from None
    names = [column.name for column in fields(Attribution)]
    if any(set(row) != set(names) for row in rows):
        raise ValueError(f"{path}: the columns must be {', '.join(names)}; put the file back as it was written")
    return [Attribution(**row) for row in rows]


def _check_names(keywords: Sequence[str]) -> None:
    used: dict[str, str] = {}
    for keyword in keywords:
        if not keyword.strip():
            raise ValueError(f"keyword {keyword!r} is empty; leave it out")
        if used.setdefault(_plain(keyword), keyword) != keyword:
            raise ValueError(f"keywords {used[_plain(keyword)]!r} and {keyword!r} have the same file name; rename one")


def _fetch(
    keyword: str, folder: Path, rows: dict[str, Attribution], tests: Sequence[int | None], commons: "_Commons"
) -> str | None:
    """Take the first candidate that is allowed. Returns None, or the reason why there is none."""
    refused: list[str] = []
    for page in commons.search(keyword):
        try:
            _take(page, keyword, folder, rows, tests, commons)
            return None
        except Refused as refusal:
            refused.append(f"{page.get('title')}: {refusal}")
    return "; ".join(refused) or "the search found no image"


class Refused(Exception):
    """An image that must not or cannot be used; the next candidate is tried."""


def _take(
    page: dict[str, Any],
    keyword: str,
    folder: Path,
    rows: dict[str, Attribution],
    tests: Sequence[int | None],
    commons: "_Commons",
    stem: str | None = None,
) -> None:
    """Writes the row before the image appears under its name, so that no image is ever left without attribution."""
    info = (page.get("imageinfo") or [{}])[0]
    licence = _licence(info, commons.manners.licences)
    content = commons.image(str(info.get("thumburl") or info.get("url") or ""))
    digest = hashlib.sha256(content).hexdigest()
    if digest in {row.sha256 for row in rows.values() if row.keyword != keyword}:
        raise Refused("already taken for another keyword")
    try:
        kind = check_image_bytes(content, str(page.get("title")))
    except ValueError as error:
        raise Refused(str(error)) from None
    target = folder / f"{stem or file_name(keyword)}{suffix(kind)}"
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
        own = perceptual_hash(temporary)
        if any(is_near(own, test, commons.manners.near) for test in tests):
            raise Refused("looks like a test image")
        rows[keyword] = Attribution(
            keyword=keyword,
            file=target.relative_to(folder).as_posix(),
            title=_words(page.get("title")),
            author=_words(_meta(info, "Artist")) or "unknown",
            licence=licence,
            url=_link(info.get("descriptionurl")),
            sha256=digest,
        )
        write_csv_rows(folder / ATTRIBUTION, [asdict(row) for row in rows.values()])


# ---- what Commons says about an image ------------------------------------------------------------------------------


class _Info(BaseModel):
    """The fields of ``imageinfo`` that are used."""

    url: str = ""
    thumburl: str = ""
    descriptionurl: str = ""
    extmetadata: dict[str, Any] = Field(default_factory=dict)


class _Page(BaseModel):
    """The fields of a page that are used."""

    title: str = ""
    index: float = 0  # its rank among the pages found
    imageinfo: list[_Info] = Field(default_factory=list)


def _pages(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The pages of an answer, best first, without those that do not have the documented form."""
    query = reply.get("query")
    pages = query.get("pages") if isinstance(query, dict) else None
    found = []
    for page in pages if isinstance(pages, list) else []:
        with contextlib.suppress(ValidationError):
            found.append(_Page.model_validate(page).model_dump())
    return sorted(found, key=lambda page: page["index"])


def _meta(info: dict[str, Any], name: str) -> str:
    entry = (info.get("extmetadata") or {}).get(name)
    return str(entry.get("value") or "") if isinstance(entry, dict) else ""


def _words(text: Any) -> str:
    """The text without HTML, on one line, and never one that a spreadsheet would read as a formula."""
    plain = html.unescape(re.sub(r"<[^>]*>", " ", str(text or "")))
    plain = " ".join(plain.encode("utf-8", "replace").decode().split())[:300]
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


def _link(text: Any) -> str:
    """A web address unchanged; anything else becomes empty."""
    plain = str(text or "").encode("utf-8", "replace").decode()
    return plain if re.fullmatch(r"https?://\S+", plain) else ""


def _licence(info: dict[str, Any], allowed: Sequence[str]) -> str:
    """The licence's short name. Raises `Refused` unless it belongs to an allowed family."""
    said = _words(_meta(info, "LicenseShortName") or _meta(info, "License")) or "none given"
    if licence_family(_meta(info, "License") or said) not in allowed or licence_family(said) not in allowed:
        raise Refused(f"licence {said}")
    return said


def licence_family(licence: str) -> str | None:
    """Such as "CC BY-SA" for "cc-by-sa-3.0-de"; None if unknown, or if it forbids use or changes (NC, ND)."""
    plain = re.sub(r"[\s_-]+", "-", licence.strip().lower())
    if re.search(r"(^|-)(nc|nd)(-|$)", plain):
        return None
    patterns = {"CC0": "cc-?0|cc-zero", "PD": "pd|public-domain", "CC BY-SA": "cc-by-sa", "CC BY": "cc-by"}
    matching = (family for family, begins in patterns.items() if re.match(rf"(?:{begins})(?![a-z0-9])", plain))
    return next(matching, None)


# ---- the network ---------------------------------------------------------------------------------------------------


class Unavailable(RuntimeError):
    """A request that failed temporarily; ``seconds`` to wait, if the server said so."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Stopped(RuntimeError):
    """The server asks for a longer pause than is worth waiting for; no further requests are made."""


TEMPORARY = (Unavailable, httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


class _Commons:
    """A client for Commons: one request at a time, at the configured rate, and never to an address of this network."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.last = 0.0
        self.client = httpx.Client(
            headers={"User-Agent": manners.user_agent},
            timeout=manners.timeout_s,
            follow_redirects=True,
            max_redirects=3,
            trust_env=False,
            proxy=manners.proxy,
            event_hooks={"request": [self._check_address]},  # also called for each redirect
        )

    def __enter__(self) -> "_Commons":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def search(self, keyword: str) -> list[dict[str, Any]]:
        """The pages of the images found, best first."""
        query = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "maxlag": 5,
            "generator": "search",
            "gsrsearch": f"{keyword} filetype:bitmap",
            "gsrnamespace": 6,  # files
            "gsrlimit": self.manners.candidates,
            "prop": "imageinfo",
            "iiprop": "url|mime|extmetadata",
            "iiurlwidth": self.manners.width,
            "iiextmetadatafilter": "License|LicenseShortName|Artist",
        }
        return _pages(self._get(self.manners.api, LARGEST_REPLY, query, as_json=True))

    def image(self, url: str) -> bytes:
        """The bytes at that address. Raises `Refused` if they cannot be fetched."""
        try:
            return bytes(self._get(url, self.manners.largest, {}, as_json=False))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, Unavailable) as error:  # ValueError: half a character
            raise Refused(f"{type(error).__name__}: {error}") from None

    def _get(self, url: str, largest: int, query: dict[str, Any], as_json: bool) -> Any:
        """The content at that address, after as many tries as allowed."""
        tries = Retrying(
            retry=retry_if_exception_type(TEMPORARY),
            stop=stop_after_attempt(self.manners.tries),
            wait=_pause,
            sleep=self.manners.sleep,
            reraise=True,
        )
        return tries(self._once, url, largest, query, as_json)

    def _keep_pace(self) -> None:
        wait = self.last + 1 / self.manners.requests_per_second - time.monotonic()
        if self.last and wait > 0:
            self.manners.sleep(wait)
        self.last = time.monotonic()

    def _once(self, url: str, largest: int, query: dict[str, Any], as_json: bool) -> Any:
        self._keep_pace()
        with self.client.stream("GET", url, params=query or None) as response:
            self._check_peer(response)
            if response.status_code == 429 or response.status_code >= 500:
                raise Unavailable(
                    f"{url} answered {response.status_code}", retry_after(response.headers.get("retry-after", ""))
                )
            response.raise_for_status()
            content = _body(response, url, largest)
            return _reply(response, content, url) if as_json else content

    def _check_address(self, request: httpx.Request) -> None:
        if request.url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(f"{request.url}: only http and https are allowed", request=request)
        if not self.manners.allow_private:
            _refuse_private(request, resolve_names=self.manners.proxy is None)

    def _check_peer(self, response: httpx.Response) -> None:
        """Check the connected address: since the first check, the name may have been resolved differently."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream else None
        if peer and self.manners.proxy is None and not self.manners.allow_private and not _is_public(peer[0]):
            raise httpx.UnsupportedProtocol(f"{response.url}: {peer[0]} is an address of a private network")


def _refuse_private(request: httpx.Request, resolve_names: bool) -> None:
    host = request.url.host
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        addresses = _addresses(host, request) if resolve_names else []
    if private := [address for address in addresses if not _is_public(address)]:
        raise httpx.UnsupportedProtocol(f"{host} is {private[0]}, an address of a private network", request=request)


def _addresses(host: str, request: httpx.Request) -> list[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise httpx.ConnectError(f"{host} cannot be found ({error})", request=request) from None


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast


def _body(response: httpx.Response, url: str, largest: int) -> bytes:
    """The whole body, unless it is too large: the length that a server declares need not be true."""
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > largest:
            raise httpx.DecodingError(f"{url} is larger than {largest} bytes", request=response.request)
    return bytes(content)


def _reply(response: httpx.Response, content: bytes, url: str) -> dict[str, Any]:
    """The API's JSON. Its status is 200 even when it is too busy to answer."""
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        raise Unavailable(f"{url} answered with something that is not JSON: {content[:80]!r}") from None
    if not isinstance(reply, dict):
        raise httpx.DecodingError(f"{url} answered with {content[:80]!r}", request=response.request)
    if error := reply.get("error"):
        code = error.get("code") if isinstance(error, dict) else None
        if code in {"maxlag", "ratelimited", "readonly"}:
            raise Unavailable(
                f"{url} is too busy to answer ({code})", retry_after(response.headers.get("retry-after", ""))
            )
        raise httpx.DecodingError(f"{url} refused the request: {error}", request=response.request)
    return reply


def _pause(state: RetryCallState) -> float:
    """The pause that the server asked for, if it is not too long; else 1, 2, 4, ... seconds."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.seconds if isinstance(error, Unavailable) else None
    if asked is not None and asked > LONGEST_PAUSE:
        raise Stopped(f"{error}; it asks to wait {asked:.0f} s; start again after that; fetched images are kept")
    return asked if asked is not None else wait_exponential(max=60)(state)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch an image for each class that notebook 01 left without one."""
    parser = argparse.ArgumentParser(prog="python -m helpers.domains.commons", description=main.__doc__)
    parser.add_argument("data", help="the folder that notebook 01 wrote, with texts.jsonl and questions.jsonl")
    parser.add_argument("folder", help="where the images go; pass it to notebook 02 as training_images")
    parser.add_argument("--user-agent", required=True, help="who you are, with an e-mail address or a web page")
    parser.add_argument("--width", type=int, default=Manners.width, help="the most pixels that an image is wide")
    given = parser.parse_args(arguments)
    data = resolve(given.data)
    keywords = [text.name for text in read_texts(data / "texts.jsonl") if text.image is None]
    asked = open_questions(data / "questions.jsonl", *QUESTION_SPLITS, use="images that training must not show")
    tests = sorted({data / name for question in asked for name in question.images})
    manners = Manners(user_agent=given.user_agent, width=given.width)
    found = fetch_images(keywords, resolve(given.folder), tests, manners)
    print(f"{len(found.images)} images in {given.folder}, {len(found.missing)} classes without")
    for keyword, reason in found.missing.items():
        print(f"  {keyword}: {reason}")


if __name__ == "__main__":
    main()
