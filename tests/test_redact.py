"""A secret is found in whatever spelling and is replaced; ordinary words are left as they are."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers.paths import ROOT
from helpers.workflow import execute, redact
from helpers.workflow.redact import Redactor, scrub

sys.path.insert(0, str(Path(__file__).resolve().parent))
from key_shapes import MIDDLE, SHAPES, logins, shown, spellings

KEYS = {name: key for name, (key, _) in SHAPES.items() if key.strip()}


@pytest.fixture(autouse=True)
def _no_keys_but_the_test_s(monkeypatch):
    for name in [*redact.os.environ]:
        if redact.SECRET_NAME.search(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv(redact.REDACTED, "LOGIN")


@pytest.mark.parametrize("shape", KEYS)
def test_a_key_of_any_shape_is_replaced_in_every_spelling(monkeypatch, shape):
    monkeypatch.setenv("LOGIN", KEYS[shape])
    clean = Redactor()
    for form in spellings(KEYS[shape]) | {whole for whole, _ in logins(KEYS[shape])}:
        said = clean(f"before [{form}] after")
        assert said.startswith("before [") and said.endswith("] after"), form
        assert "<LOGIN>" in said and not shown(KEYS[shape], said), (form, said)


def test_only_what_is_secret_is_replaced(monkeypatch):
    monkeypatch.setenv("LOGIN", "sk-ab\ncd%41-0123")
    texts = ["50% of &lt;b&gt; \\n \x1b[31mred\x1b[0m C:\\temp %41 &amp; 'a' ''", "a\nb\n\n  c", "sk-ab", ""]
    assert list(map(Redactor(), texts)) == texts
    assert Redactor()("x=%41&key=sk-ab%0Acd%2541-0123&y=%42") == "x=%41&key=<LOGIN>&y=%42"
    assert Redactor()("\x1b[31msk-ab\\ncd%41-0123\x1b[0m\n") == "\x1b[31m<LOGIN>\x1b[0m\n"


def test_of_a_long_key_either_end_is_enough(monkeypatch):
    key = "sk-proj-q7Zx0Kd9mW3tVb5LrT8yUhN2"
    monkeypatch.setenv("SOME_KEY", key)
    assert Redactor()(f"input '{key[:20]}...{key[-18:]}'") == "input '<SOME_KEY>...<SOME_KEY>'"
    assert Redactor()(f"{key[:15]} {key[-15:]}") == f"{key[:15]} {key[-15:]}"
    monkeypatch.setenv("SOME_KEY", "/home/alice/projects/credentials.json")
    assert Redactor()("/home/alice/projects/data") == "/home/alice/projects/data"


def test_a_short_value_is_a_key_only_where_it_is_named_as_one(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "q7Zx0K")
    assert Redactor()("q7Zx0K") == "q7Zx0K"
    monkeypatch.setenv("LOGIN", "q7Zx0K")
    assert Redactor()("q7Zx0K, xq7Zx0K, %20q7Zx0K\\n") == "<LOGIN>, xq7Zx0K, %20<LOGIN>\\n"
    for placeholder in ("EMPTY", "none", "x", "abc"):
        monkeypatch.setenv("LOGIN", placeholder)
        assert Redactor()(f"is {placeholder}") == f"is {placeholder}"


def test_a_variable_is_named_once_and_for_the_processes_started_from_here(monkeypatch):
    monkeypatch.setenv(redact.REDACTED, "LOGIN")
    for variable in ("MINE", None, "MINE", "LOGIN"):
        redact.name_key(variable)
    assert redact.os.environ[redact.REDACTED] == "LOGIN MINE"


@pytest.mark.parametrize(
    ("name", "value", "said", "clean"),
    [
        ("HTTPS_PROXY", "http://al:pa%40ss%3Aword@proxy:80", "pa@ss:word", "<HTTPS_PROXY>"),
        ("http_proxy", "http://alice:short@proxy:80", "alice:short, short", "<http_proxy>, short"),
        ("PIP_INDEX_URL", "https://ghp_0123456789abcdef@host/simple", "ghp_0123456789abcdef", "<PIP_INDEX_URL>"),
        ("ALL_PROXY", "socks5://al:pass/word@proxy", "Proxy-Authorization: Basic YWw6cGFzcy93b3Jk", "Basic"),
        *((name, "q7Zx0Kd9mW", "q7Zx0Kd9mW", f"<{name}>") for name in ("HF_TOKEN", "WANDB_API_KEY", "DB_PASS")),
        ("MLFLOW_TRACKING_PASSWORD", "q7Zx0Kd9mW", "q7Zx0Kd9mW", "<MLFLOW_TRACKING_PASSWORD>"),
        ("KEYBOARD", "azerty-layout", "azerty-layout", "azerty-layout"),
        ("PWD", "/home/somebody", "/home/somebody", "/home/somebody"),
    ],
)
def test_other_secrets_of_the_environment_are_known(monkeypatch, name, value, said, clean):
    monkeypatch.setenv(name, value)
    assert clean in Redactor()(said)
    assert "cGFzcy93b3" not in Redactor()(said)


def test_a_key_that_goes_over_the_lines_of_a_notebook_is_found(monkeypatch):
    monkeypatch.setenv("LOGIN", "ab3d\nef6h\nij9l")
    lines = ["one\n", "ab3d\n", "ef6h\n", "ij9l, two\n", "three"]
    assert scrub({"text": lines, "ab3d\\nef6h\\nij9l": 1}) == {
        "text": ["one\n", "<LOGIN>, two\n", "three"],
        "<LOGIN>": 1,
    }


def test_whole_words_are_scrubbed_and_nothing_else(monkeypatch):
    monkeypatch.setattr(redact.socket, "gethostname", lambda: "fern.garden.example")
    monkeypatch.setattr(redact.getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(redact.Path, "home", lambda: Path("/home/alice"))
    monkeypatch.setenv("HUB_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("A_KEY", "short")
    monkeypatch.setenv("B_KEY", "key-of-alice-2024")
    said = {
        "/home/alice/data, /home/alice and /home/malice": "~/data, ~ and /home/malice",
        f"{ROOT}/runs/demo {ROOT} /x{ROOT}/runs": f"runs/demo . /x{ROOT}/runs",
        "fern fern.garden.example ferns alice malice": "<host> <host> ferns <user> malice",
        "xhf_abcdefghx short key-of-alice-2024": "x<HUB_TOKEN>x short <B_KEY>",
    }
    assert {text: scrub(text) for text in said} == said


def test_scrubbing_goes_down_into_values_and_leaves_pictures_alone(monkeypatch):
    monkeypatch.setenv("HUB_TOKEN", "abcdefgh")
    cell = {"data": {"image/png": "xxabcdefghxx", "text/plain": ["abcdefgh"]}, "count": 3, "none": None}
    assert scrub(cell) == {
        "data": {"image/png": "xxabcdefghxx", "text/plain": ["<HUB_TOKEN>"]},
        "count": 3,
        "none": None,
    }


def test_what_is_private_here_is_known(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345678")
    found = {**redact.secrets(), **redact.machine_names()}
    assert {str(ROOT), str(Path.home()), "sk-12345678"} <= set(found)
    assert all(text.strip("/") for text in found)


def test_a_user_without_a_name_is_none(monkeypatch):
    def unknown():
        raise KeyError("uid not found")

    monkeypatch.setattr(redact.getpass, "getuser", unknown)
    assert "<user>" not in redact.machine_names().values()


def test_the_variables_of_keys_are_found_in_parameters_however_deep():
    given = {"writer": {"key_variable": "ONE", "model": "m"}, "writer_key_variable": "TWO", "key_variable": None}
    assert list(execute.key_variables(given)) == ["ONE", "TWO"]


def test_the_log_is_written_by_lines_and_without_keys(tmp_path, monkeypatch):
    import io

    monkeypatch.setenv("LOGIN", "ab3d\nef6h\nij9l")
    monkeypatch.setenv("SOME_KEY", "q7Zx0Kd9mW")
    file = io.StringIO()
    log = execute.Log(file, io.StringIO(), "01")
    for piece in ("50 %\rsaid q7Zx", "0Kd9mW\nand q7", "Zx0Kd9mW"):
        log.write(piece)
    log.close()
    assert file.getvalue() == "50 %\rsaid <SOME_KEY>\nand <SOME_KEY>"
    (tmp_path / "log").write_text("native q7Zx0Kd9mW, ab3d\nef6h\nij9l\n")
    execute._redact_file(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "native <SOME_KEY>, <LOGIN>\n"


# Pieces of a print, a bar without a line's end, native output, a table cut at 50 characters, a warning, HTML, a
# coloured traceback
LEAKS = """import os, json, sys, warnings
from urllib.parse import quote
keys = [value for name, value in sorted(os.environ.items()) if name.startswith("SHAPE_")]
for key in keys:
    print(key, repr(key), json.dumps(key), key.encode(), quote(key), sep="\\n")
    print(key[:5], end="", flush=True)
    print(key[5:], end="\\r", flush=True, file=sys.stdout)
    os.write(2, key.encode())
    warnings.warn(key)
import pandas as pd
from IPython.display import HTML, display
display(pd.DataFrame({"reason": [f"refused {key}" for key in keys]}), HTML("<p>".join(keys)), keys)
os.write(1, "\\n".join(keys).encode())
raise ValueError(f"Illegal header value {[key.encode() for key in keys]} {keys} " + " ".join(keys))"""


@pytest.mark.slow
def test_a_notebook_that_shows_keys_in_every_way_leaves_none(tmp_path, monkeypatch):
    """All shapes at once, one of them in a variable that only the parameters name."""
    keys = [key for name, key in KEYS.items() if name not in {"six characters", "korean"}]
    for number, key in enumerate([*keys, "열쇠-q7Zx0K"]):
        monkeypatch.setenv(f"SHAPE_{number:02}{'_KEY' if key in keys else ''}", key)
    cells = [v4.new_code_cell("writer: dict = {}", metadata={"tags": ["parameters"]}), v4.new_code_cell(LEAKS)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "leaks.ipynb")
    given = json.dumps({"writer": {"key_variable": f"SHAPE_{len(keys):02}", "said": [*keys, "열쇠-q7Zx0K"]}})
    command = [sys.executable, "-m", "helpers.workflow.execute", "leaks.ipynb", "out/out.ipynb", "-y", given]
    command[3:5] = [str(tmp_path / name) for name in command[3:5]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    made = {file.name: file.read_bytes().decode() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert (done.returncode, sorted(made)) == (1, ["out.failed.ipynb", "out.failed.manifest.json", "out.log"])
    made |= {"stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
    assert "<SHAPE_00_KEY>" in made["out.failed.ipynb"] and f"<SHAPE_{len(keys):02}>" in made["out.log"]
    found = {(name, key) for name, text in made.items() for key in [*keys, "열쇠-q7Zx0K"] if shown(key, text)}
    assert not found
    assert not [name for name, text in made.items() if MIDDLE in text]
