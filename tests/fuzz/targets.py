"""The parsers that read what others wrote, each as a function of bytes that raises only where a promise is broken.

A promise is what the parser's docstring says: it gives something usable, or refuses with its own error, which names
the file. Anything else that comes out of a target (a KeyError, an AssertionError of its own) is a finding.
`search.py` looks for such bytes, `test_corpus.py` tries those that are kept.
"""

import io
import json
import os
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import httpx2

from helpers import paths
from helpers.config import grids, profiles
from helpers.config.writer import Writer
from helpers.domains import butterfly_vqa, commons, kviscuit
from helpers.domains.interface import Subject
from helpers.domains.own_folder import read_folder
from helpers.images import check_image_bytes
from helpers.models.checkpoints import check_checkpoint
from helpers.results.report import executed
from helpers.rows import read_rows, write_rows
from helpers.schemas import ClassText, Question, Sample
from helpers.workflow import notebooks
from helpers.workflow.redact import Redactor
from helpers.writer import conversation
from helpers.writer.budget import Price
from helpers.writer.cache import Cache, CachedReply
from helpers.writer.conversation import Described, Task, WrittenQuestion
from helpers.writer.endpoint import Endpoint, _json
from helpers.writer.prompts import load_prompt

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
DEMO = profiles.load_profile("demo")
IMAGE = (paths.DATA / "own/example/pictures").rglob("*.png").__next__().read_bytes()
KEY = "a-key-of-the-environment"
PROMPTS = {Described: load_prompt("generic"), WrittenQuestion: load_prompt("questions_generic")}


def put(name: str, content: bytes) -> Path:
    """A file below the folder of this process, over what was there."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def chosen(data: bytes, number: int) -> tuple[int, bytes]:
    """The first byte chooses one of so many kinds, the rest is the content."""
    return (data[0] % number if data else 0), data[1:]


def refused(error: Exception, *names: str) -> None:
    """The promise of an error: it names the file, in a message that a terminal can hold."""
    assert any(name in str(error) for name in names), f"names none of {names}: {error}"
    assert len(str(error)) < 50_000, f"{len(str(error))} characters"


# ---- rows ----------------------------------------------------------------------------------------------------------

SCHEMAS = (Question, ClassText, Sample, CachedReply)


def rows(data: bytes) -> None:
    """Questions, texts, samples, cached replies: read, or named with the line; what was read comes back as it was."""
    place, content = chosen(data, len(SCHEMAS))
    path = put("rows/rows.jsonl", content)
    try:
        found = read_rows(path, SCHEMAS[place])
    except ValueError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error)), error
        return refused(error, str(path))
    assert read_rows(write_rows(put("rows/again.jsonl", b""), found), SCHEMAS[place]) == found
    return None


def cache(data: bytes) -> None:
    """The writer's cache: what was paid for is never lost, a torn line is cut, the rest is named."""
    path = put("cache/cache.jsonl", data)
    try:
        first = Cache(path)
    except ValueError as error:
        return refused(error, str(path))
    assert Cache(path).replies == first.replies
    return None


def annotations(data: bytes) -> None:
    """K-VISCUIT's annotations."""
    put("kviscuit/images/a.png", IMAGE)
    path = put("kviscuit/annotations.jsonl", data)
    try:
        assert kviscuit.load_kviscuit(path.parent).questions
    except ValueError as error:
        refused(error, str(path), str(path.parent))


def parquet(data: bytes) -> None:
    """Parquet files as K-VISCUIT and as questions about butterflies, down to their pictures."""
    path = put("parquet/test.parquet", data)
    try:
        assert kviscuit.load_kviscuit(path.parent).questions
    except ValueError as error:
        refused(error, str(path), str(path.parent))
    try:
        butterfly_vqa.read([path], {}, {"MONARCH"})
    except ValueError as error:
        refused(error, str(path))


# ---- settings ------------------------------------------------------------------------------------------------------


def profile(data: bytes) -> None:
    """A file of settings."""
    path = put("config/profiles/fuzz.yaml", data)
    try:
        profiles.load_profile("fuzz", folder=path.parent)
    except profiles.SettingsError as error:
        refused(error, "fuzz")


def grid(data: bytes) -> None:
    """A grid and what it would run; none that would take longer to list than to read."""
    path = put("config/grids/fuzz.yaml", data)
    try:
        found = grids.load_grid(path)
        if 4 * len(found.variants) + len(found.axes) < 40:
            grids.runs(found, DEMO)
    except profiles.SettingsError as error:
        refused(error, "fuzz")


def overrides(data: bytes) -> None:
    """Settings given beside a profile."""
    text = data.decode("utf-8", "replace")
    try:
        given = profiles.parse_overrides(text)
        profiles.replaced(DEMO, given, "the command line")
    except profiles.SettingsError as error:
        return refused(error, "cannot")
    assert re.fullmatch(r"[A-Za-z0-9_.=+~-]+", grids.key(given))
    return None


def notebook(data: bytes) -> None:
    """A notebook's file: its parameters and its imports."""
    path = put("notebooks/fuzz.ipynb", data)
    for read in (notebooks.declared_parameters, notebooks._imported):
        try:
            read(path)
        except notebooks.NotebookError as error:
            refused(error, str(path))


# ---- models and services -------------------------------------------------------------------------------------------

ARCHITECTURE = "Qwen2VLForConditionalGeneration"
CONFIG = {"model_type": "qwen2_vl", "architectures": [ARCHITECTURE], "text_config": {"vocab_size": 4}}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 3}}, "added_tokens": [{"id": 2, "content": "<end>"}]}
EMBEDDING = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 1], "data_offsets": [0, 16]}}
INDEX = "model.safetensors.index.json"
WEIGHT_MAP = {"weight_map": {"model.embed_tokens.weight": "model.safetensors"}}


def weights(header: bytes, data: bytes = b"\0" * 16) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header)) + header + data


MODEL = {
    "config.json": json.dumps(CONFIG).encode(),
    INDEX: json.dumps(WEIGHT_MAP).encode(),
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "tokenizer_config.json": b"{}",
    "model.safetensors": weights(json.dumps(EMBEDDING).encode()),
}


def model(data: bytes) -> None:
    """A model folder with one file of the input's; the last kind is a header with its right length."""
    place, content = chosen(data, len(MODEL) + 1)
    name = [*MODEL, "model.safetensors"][place]
    for other, sham in MODEL.items():
        put(f"model/{other}", sham)
    put(f"model/{name}", content if place < len(MODEL) else weights(content))
    try:
        check_checkpoint(FOLDER / "model", ARCHITECTURE)
    except (ValueError, FileNotFoundError) as error:
        refused(error, name, "weight files are missing", *(("tokenizer", "embedding") if name != INDEX else ()))


def chat(data: bytes) -> None:
    """What a chat server answers, and what the model said in it."""
    endpoint = Endpoint.__new__(Endpoint)
    endpoint.settings, endpoint.price = Writer(), Price(1, 1)
    with mock.patch.dict(os.environ, OPENAI_API_KEY=KEY):
        endpoint._redact = Redactor()
    response = httpx2.Response(200, content=data)
    assert isinstance(endpoint._refused(response), Exception)
    reply = endpoint._read(SimpleNamespace(key="k"), _json(response), 10)  # type: ignore[arg-type]
    if reply is None:
        return
    assert CachedReply.model_validate_json(reply.model_dump_json()) == reply
    assert KEY not in (reply.text or "")
    said(reply)


def words(data: bytes) -> None:
    """What a model said: read as the form asked for, or told to it."""
    text = data.decode("utf-8", "replace")
    said(CachedReply(request="k", model="m", text=text, finish="stop", tokens_in=1, tokens_out=1, cost=0.0))
    try:
        _, options = butterfly_vqa.split_letter(text)
        assert len(options) == 4
        assert butterfly_vqa.answer_of(text, options, butterfly_vqa.Numbering()) in range(4)
    except ValueError as error:
        assert len(str(error)) < 50_000


def said(reply: CachedReply) -> None:
    """A text and questions are tried, with all their gates."""
    one = Subject("own", "a", "Aurelia", "the Aurelia")
    for form, kind in ((Described, None), (WrittenQuestion, "questions")):
        prompt = PROMPTS[form]
        faults = conversation._text_faults if kind is None else conversation._question_faults
        task = Task(one, None if kind else 0, prompt, Writer(), {"count": 1}, form, None, faults)
        value, found = task.read(reply)
        assert value is not None or found
        assert all(isinstance(fault, str) for fault in found)


class _Images:
    """Commons, with a picture wherever one is asked for."""

    manners = commons.Manners(user_agent="fuzz (me@example.org)")

    def image(self, url: str) -> bytes:
        """Of a few pixels."""
        return IMAGE


def commons_reply(data: bytes) -> None:
    """What Wikimedia Commons answers to a search, and the pages in it."""
    response = httpx2.Response(200, content=data, request=httpx2.Request("GET", "https://example.org"))
    asked = commons._Commons(_Images.manners)
    asked._once = lambda *_: commons._reply(response, data, "https://example.org")  # type: ignore[method-assign]
    asked.manners = commons.Manners(user_agent="fuzz (me@example.org)", tries=1)
    target = FOLDER / "commons"
    target.mkdir(exist_ok=True)
    taken: dict[str, commons.Attribution] = {}
    try:
        for page in asked.search("a"):
            try:
                commons._take(page, "a", target, taken, [], _Images())  # type: ignore[arg-type]
            except commons.Refused:
                continue
    except (commons.Unavailable, commons.Stopped, httpx2.DecodingError):
        return
    assert [row.file for row in taken.values()] in ([], ["a.png"])
    if taken:
        assert commons.read_attribution(target) == list(taken.values())


def attribution(data: bytes) -> None:
    """attribution.csv, which may have been through a spreadsheet."""
    path = put("attribution/attribution.csv", data)
    try:
        commons.read_attribution(path.parent)
    except ValueError as error:
        refused(error, str(path))


# ---- classes of one's own, pictures, notebooks' outputs --------------------------------------------------------------

OWN = {
    "classes.csv": b"class_id,name,noun,fact:diet,look:wing\na,A,fly,nectar,red\nb,B,fly,sap,blue\n"
    b"c,C,fly,fruit,grey\nd,D,fly,mud,pink\n",
    "texts.csv": b"class_id,look,background\na,It is red.,It lives.\n",
    "questions.csv": b"question,option_a,option_b,option_c,option_d,answer,picture,type\n"
    b"What?,A,B,C,D,A,pictures/test/a/1.png,1\n",
    "domain.yaml": b"noun: fly\nnaming_answer: This is the {option}.\n",
    "texts.jsonl": b'{"class_id": "a", "appearance": "red", "background": "b"}\n',
}


def own(data: bytes) -> None:
    """A folder of one's own, one file of which is the input: it never raises, whatever it holds."""
    place, content = chosen(data, len(OWN))
    name = [*OWN][place]
    put("own/pictures/test/a/1.png", IMAGE)
    for other, table in OWN.items():
        put(f"own/{other}", table)
    (FOLDER / "own" / ("texts.csv" if name == "texts.jsonl" else "texts.jsonl")).unlink()
    put(f"own/{name}", content)
    found = read_folder(FOLDER / "own")
    assert found.classes or found.findings.problems
    assert all(len(str(one)) < 50_000 for one in (*found.findings.problems, *found.findings.notes))


def image(data: bytes) -> None:
    """A picture by its bytes."""
    try:
        assert check_image_bytes(data, "the name") in {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"}
    except ValueError as error:
        assert str(error).startswith("the name: ")


ACTING = re.compile(r"<(script|style|iframe|object|embed|form|svg|math|meta|base|link|input)\b|<[^>]*\son\w+\s*=", re.I)


def markup(data: bytes) -> None:
    """HTML in a notebook's output: nothing that acts or loads is left."""
    cleaned = executed.clean(data.decode("utf-8", "replace"))
    assert not ACTING.search(cleaned), cleaned
    assert not re.search(r"<[^>]*(?:src|href)=[\"']?\s*(?:javascript|vbscript)\s*:", cleaned, re.I), cleaned


TARGETS: dict[str, Callable[[bytes], Any]] = {
    one.__name__: one
    for one in (
        *(rows, cache, annotations, parquet, profile, grid, overrides, notebook),
        *(model, chat, words, commons_reply, attribution, own, image, markup),
    )
}


def seeds(target: str) -> list[bytes]:
    """Inputs of the right kind to begin with."""
    return [bytes(seed) for seed in SEEDS[target]()]


def _rows() -> list[bytes]:
    question = Question(
        domain="d", question_id="q", question_type=1, category="c", class_id="a", question="What?",
        options=list("abcd"), answer=0, image=None, split="test",
    )  # fmt: skip
    text = ClassText(
        class_id="a", name="A", domain="d", appearance="l", background="b", wording=0, writer="w", image=None
    )  # fmt: skip
    sample = (
        b'{"id":"s","domain":"d","class_id":"a","direction":"name_to_look","messages":[{"role":"user","content":'
        b'[{"type":"text","text":"x"}]},{"role":"assistant","content":[{"type":"text","text":"y"}]}]}'
    )
    reply = b'{"request":"r","model":"m","text":"t","finish":"stop","tokens_in":1,"tokens_out":1,"cost":0.5}'
    made = [question.model_dump_json().encode(), text.model_dump_json().encode(), sample, reply]
    return [bytes([kind]) + line + b"\n" for kind, line in enumerate(made)]


def _annotation() -> dict[str, Any]:
    return {
        "question": "What?", "options": list("abcd"), "answer": 0, "category": "Food", "id_": "1", "question_type": 1,
        "image_url": "", "image_path": "a.png",
    }  # fmt: skip


def _parquet() -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    image = {"bytes": IMAGE[:400], "path": "a.png"}
    butterfly = {"image": image, "question": "Which?", "options": list("abcd"), "answer": "A", "label": "MONARCH"}
    made = []
    for row in ({**_annotation(), "image": image}, butterfly):
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), file)
        made.append(file.getvalue())
    return made


def _chat() -> list[bytes]:
    text = json.dumps({"appearance": "It has red wings.", "background": "It lives in forests."})
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    return [
        json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}).encode(),
        json.dumps({"choices": [{"message": {"refusal": "no"}, "finish_reason": "length"}]}).encode(),
    ]


def _words() -> list[bytes]:
    asked = {"category": "c", "question": "What?", "right": "a", "wrong": ["b", "c", "d"]}
    return [
        json.dumps({"appearance": "Red wings.", "background": "Forests."}).encode(),
        b"```json\n" + json.dumps({"type1": "Which?", "type2": [asked]}).encode() + b"\n```",
        b"Which is it? A) one, B) two, C) three, D) four",
    ]


def _commons() -> list[bytes]:
    info = {
        "url": "https://upload.wikimedia.org/a.png", "thumburl": "https://upload.wikimedia.org/t.png",
        "descriptionurl": "https://commons.wikimedia.org/wiki/File:A.png",
        "extmetadata": {"LicenseShortName": {"value": "CC BY-SA 4.0"}, "License": {"value": "cc-by-sa-4.0"},
                        "Artist": {"value": "<b>A</b>"}},
    }  # fmt: skip
    page = {"title": "File:A.png", "index": 1, "imageinfo": [info]}
    return [json.dumps({"query": {"pages": [page]}}).encode(), b'{"error": {"code": "maxlag"}}']


def _markup() -> list[bytes]:
    return [
        b"<p>x</p><script>alert(1)</script><img src=x onerror=alert(1)>",
        b"<a href='java\tscript:alert(1)'>x</a><svg><style><img src=//e></style></svg>",
        b"<table class='dataframe'><tr><td>1</td></tr></table><img src='data:image/png;base64,AA'>",
    ]


def _images() -> list[bytes]:
    from PIL import Image

    made = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        file = io.BytesIO()
        Image.new("RGB", (2, 2), "red").save(file, kind)
        made.append(file.getvalue())
    return made


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(paths.ROOT.glob(pattern))]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "rows": _rows,
    "cache": lambda: [_rows()[3][1:]],
    "annotations": lambda: [json.dumps(_annotation()).encode()],
    "parquet": _parquet,
    "profile": lambda: _files("config/profiles/*.yaml"),
    "grid": lambda: _files("config/grids/*.yaml"),
    "overrides": lambda: [b"training.epochs=3 data.limit_classes=8", b"'seeds=[0, 1]' writer.model=\"a b\""],
    "notebook": lambda: [
        b'{"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["a: int = 1\\n"]},'
        b' {"cell_type": "code", "source": "%magic\\nfrom helpers import paths"}],'
        b' "metadata": {"kernelspec": {"language": "python"}}}'
    ],
    "model": lambda: (
        [bytes([kind]) + content for kind, content in enumerate(MODEL.values())]
        + [bytes([len(MODEL)]) + json.dumps(EMBEDDING).encode()]
    ),
    "chat": _chat,
    "words": _words,
    "commons_reply": _commons,
    "attribution": lambda: [b"keyword,file,title,author,licence,url,sha256\na,a.png,A,b,CC0,https://x,0\n"],
    "own": lambda: [bytes([kind]) + content for kind, content in enumerate(OWN.values())],
    "image": _images,
    "markup": _markup,
}
