"""The report is one page that stands alone, says what the tables say, and shows anything that a run can leave."""

import base64
import json
import re
import shutil
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from nbformat import v4, write
from PIL import Image

from helpers.config.grids import load_grid
from helpers.paths import ROOT
from helpers.results import claims, examples, own_classes
from helpers.results.answer_cards import answer_cards, check_data_set, option_shares
from helpers.results.examples import choose_examples
from helpers.results.report.contents import GridOnPage, as_grid
from helpers.results.report.executed import NO_WORDS, clean, with_words
from helpers.results.report.page import _checked, build
from helpers.results.tables.answers import read_answers
from helpers.results.tables.files import rounded, write_csv
from helpers.results.tables.paper import table1, table2
from helpers.schemas import NO_METER, Question, questions_hash, write_questions
from helpers.workflow import provenance
from helpers.workflow.verify import verify

sys.path.insert(0, str(Path(__file__).parent))
from browser import CHROMIUM, Browser

EVIL = "<script>alert(1)</script>"
PAPER = "https://arxiv.org/abs/2412.12940"
QUESTIONS = 12  # of each type
NAMES = ("Monarch", "Viceroy", "Atala", EVIL)
RIGHT = {"base": 3, "text_only": 9, "image_text": 11}  # of the twelve of each type
SECONDS = {"text_only": 60.0, "image_text": 80.0}


def asked():
    """Twelve questions of each type, on twelve pictures."""
    return [
        Question(
            domain="butterfly",
            question_id=f"q{kind}-{number}",
            question_type=kind,
            category="drawn",
            class_id=f"class{number}",
            question=f"Which one is this? {EVIL}" if number == 0 else "Which one is this?",
            options=list(NAMES),
            answer=number % 4,
            image=f"images/{number}.png",
            split="test",
        )
        for kind in (1, 2)
        for number in range(QUESTIONS)
    ]


def answer_row(question, mode, image, number):
    correct = number % QUESTIONS < (RIGHT[mode] if image == "with" else 3)
    parsed = question.answer if correct else (question.answer + 1) % 4
    return {
        **{"model": "qwen2_vl", "domain": "butterfly", "mode": mode, "variant": "main", "seed": 0, "image": image},
        **{"answering": "direct", "protocol": "option_likelihood", "question_id": question.question_id},
        **{"question_type": question.question_type, "category": "drawn", "image_path": question.image},
        **{"class_id": question.class_id, "prompt_hash": "0", "options": question.options, "answer": question.answer},
        **{"scores": [0.0 if place == parsed else -2.0 for place in range(4)], "description": EVIL, "named": None},
        **{"reply": None, "parsed": parsed, "correct": correct, "new_tokens": 0},
    }


def fabricate(run: Path) -> Path:
    """A run as the notebooks leave it, with answers made up and one executed notebook, but no model anywhere."""
    data = run / "datasets/butterfly/main"
    (data / "images").mkdir(parents=True)
    for number in range(QUESTIONS):
        Image.new("RGB", (56, 56), (20 * number, 90, 160)).save(data / f"images/{number}.png")
    questions = asked()
    write_questions(data / "questions.jsonl", questions)
    for part, image in (("evaluation", "with"), ("ablation", "without")):
        for mode in RIGHT:
            folder = run / part / "qwen2_vl/butterfly" / mode / "main/seed0"
            folder.mkdir(parents=True)
            rows = [answer_row(question, mode, image, number) for number, question in enumerate(questions)]
            (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _results(run)
    _grid(run)
    _notebook(run)
    return run


def _results(run):
    shown, withheld = (read_answers(sorted((run / part).rglob("answers.jsonl"))) for part in ("evaluation", "ablation"))
    write_csv(table1(shown), run / "results/table1.csv")
    write_csv(table2(shown, withheld), run / "results/table2.csv")
    judged = claims.claims_table(pd.concat([shown, withheld]), shown[:0])
    write_csv(rounded(judged), run / "results/claims.csv")
    costs = [
        {"model": "qwen2_vl", "domain": "butterfly", "mode": mode, "variant": "main", "seed": seed}
        | {"compute_seconds": seconds + seed, "compute_of": "CPU", "seconds": 9.0, "memory_above_model_mb": 70.0}
        | {"peak_memory_mb": 700.0, "energy_wh": None, "energy_source": NO_METER}
        | {"vision_tower_calls": 0 if mode == "text_only" else 300, "tokens": 1000, "samples": 100}
        for mode, seconds in SECONDS.items()
        for seed in (0, 1)
    ]
    write_csv(pd.DataFrame(costs), run / "results/resources.csv")
    _figure(run / "figures", "figure2", pd.DataFrame(costs))


def _figure(folder, name, data):
    write_csv(data, folder / f"{name}.csv")
    Image.new("RGB", (600, 200), "white").save(folder / f"{name}.png")
    (folder / f"{name}.pdf").write_bytes(b"%PDF-1.4")
    provenance.write_sidecar(folder, name, [folder / f"{name}.csv"])


def _grid(run):
    folder = run / "grids/ranks"
    _figure(folder / "figures", "ranks", pd.DataFrame({"variant": ["main", EVIL], "type1": [50.0, 60.0]}))
    _figure(run / "grids/best_on_dev/figures", "best_on_dev", pd.DataFrame({"variant": ["main"], "type1": [50.0]}))


def _notebook(run):
    folder = run / "notebooks/paper"
    folder.mkdir(parents=True)
    html = v4.new_output("display_data", data={"text/html": f"<b>bold</b>{EVIL}<img src=x onerror=alert(1)>"})
    cells = [v4.new_markdown_cell("# 07"), v4.new_code_cell("print(1 < 2)", outputs=[html], execution_count=1)]
    write(v4.new_notebook(cells=cells), folder / "all.ipynb")
    write(v4.new_notebook(cells=cells), folder / "all.failed.ipynb")
    asked = [file for part in ("datasets", "evaluation", "ablation") for file in (run / part).rglob("*.jsonl")]
    _record(run, "notebooks/04_evaluation.ipynb", "asked", [], asked)
    made = [file for part in ("results", "grids") for file in (run / part).rglob("*") if file.is_file()]
    _record(run, "notebooks/07_paper.ipynb", "paper/all", [run / "evaluation", run / "ablation"], made)


def _record(run, notebook, name, inputs, outputs):
    """The manifest that the workflow leaves of one notebook."""
    copy = run / f"notebooks/{name}.ipynb"
    content = provenance.manifest({"run_dir": str(run)}, inputs) | {
        "notebook": notebook,
        "command": f"python -m helpers.workflow.execute {notebook} out.ipynb",
        "outputs": provenance.hashes(outputs),
        "executed": provenance.hashes([copy] if copy.is_file() else []),
        "ended": "2026-01-01T00:00:00+00:00",
        "exit": 0,
    }
    provenance.write_json(copy.with_suffix(".manifest.json"), content)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The fabricated run's report: the folder that holds index.html."""
    return build(fabricate(tmp_path_factory.mktemp("runs") / "made_up")).parent


class Page(HTMLParser):
    """Tags with their attributes, and whether they were closed in order."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def test_every_link_leads_to_a_file_or_a_place_in_the_page(report):
    for file in [report / "index.html", *(report / "notebooks").rglob("*.html")]:
        page = read(file)
        places = {attributes.get("id") for _, attributes in page.tags}
        addresses = [attributes["href"] for attributes in page.all("a") if "href" in attributes]
        outside = [address for address in addresses if re.match(r"[a-z]+:", address)]
        assert outside == ([PAPER] if file.name == "index.html" else [])
        for address in set(addresses) - {PAPER}:
            if address.startswith("#"):
                assert address[1:] in places, address
            else:
                assert (file.parent / unquote(address)).is_file(), address


def test_the_page_is_whole_loads_nothing_and_runs_nothing(report):
    page = read(report / "index.html")
    assert (page.wrong, page.open) == ([], [])
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_text_from_data_is_escaped(report):
    for file in [report / "index.html", *(report / "notebooks").rglob("*.html")]:
        text = file.read_text(encoding="utf-8")
        assert "<script" not in text and "<img src=x" not in text, file
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (report / "index.html").read_text(encoding="utf-8")


def test_every_picture_has_words_and_every_table_heads(report):
    page = read(report / "index.html")
    assert page.all("img") and all(image.get("alt") for image in page.all("img"))
    assert {head.get("scope") for head in page.all("th")} == {"col", "row", "rowgroup"}
    regions = [attributes for attributes in page.all("div") if attributes.get("role") == "region"]
    assert regions and all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    assert page.all("html")[0]["lang"] == "en"


def test_the_numbers_are_those_of_the_tables(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    assert '<th scope="row">text only, asked directly</th><td>75.0 [46.8,\xa091.1]</td>' in text  # 9 of 12
    assert "75.0\xa0%, +50.0 [+25.0,\xa0+75.0] compared with untuned (25.0\xa0%); open" in text
    # (60 + 61) / (80 + 81) = 0.7516, from 60 / 80 to 61 / 81
    assert "0.75 (0.75 to 0.75, 2 pairs of runs) of image-text training" in text


def in_order(text, *words):
    places = [text.index(word) for word in words]
    return places == sorted(places)


def test_a_picture_and_the_result_come_first_then_figures_and_tables_last(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    first = ('id="abstract"', 'alt="The image of question', "recognise in images what they have read about?")
    assert in_order(text, *first, 'id="figures"', 'id="gallery"', 'id="claims"', 'id="grids"', 'id="tables"')


def contrast(claim, domain, low, high, outcome, seeds=1):
    """A row of claims.csv: the untuned model's accuracy and text-only training's."""
    return {
        **{"claim": claims.CLAIMS[claim].claim, "model": "qwen2_vl", "domain": domain, "mode": "text_only"},
        **{"answering": "describe_then_answer" if claim == 2 else "direct", "seeds": seeds, "outcome": outcome},
        **{"accuracy": high, "against_accuracy": low, "difference": high - low},
    }


def scored(model, domain, mode, type1):
    return {"model": model, "domain": domain, "mode": mode, "answering": "direct", "type1": type1}


def told(rows, table1):
    rows = pd.DataFrame(rows).assign(image="with", against="", low=0.0, high=0.0)
    files = {"contrasts": "claims.csv"}
    return claims.abstract(claims.Tables(pd.DataFrame(table1), rows, pd.DataFrame(), files, {}))


def test_the_abstract_says_the_claim_the_best_gain_and_the_baseline_that_beats_it():
    rows = [contrast(0, "butterfly", 80.0, 60.0, "no"), contrast(1, "butterfly", 25.0, 60.0, "yes", seeds=3)]
    rows += [contrast(2, "butterfly", 24.0, 90.0, "yes"), contrast(2, "culture", 20.0, 95.0, "open")]
    beside = [scored("qwen2_vl", "butterfly", "dictionary", 92.5), scored("baseline", "butterfly", "prior", 30.0)]
    beside += [scored("qwen2_vl", "butterfly", "image_text", 99.0), scored("qwen2_vl", "culture", "dictionary", 97.0)]
    asked, claim, gain, baseline = told(rows, beside)
    assert asked.endswith("recognise in images what they have read about?")
    assert claim.endswith("training on images and text: not reproduced.")
    model = claims.label("qwen2_vl")
    assert gain == (
        "The largest gain over the untuned model is from 24.0 to 90.0\xa0% "
        f"({model}, Butterfly, describe, then answer)."
    )
    assert baseline == "The best baseline (dictionary of its words) scores higher: 92.5\xa0%."
    one_seed = told(rows[2:], [scored("baseline", "butterfly", "prior", 30.0)])
    assert one_seed[-2:] == [
        "The best baseline (prior of the texts) scores no higher: 30.0\xa0%.",
        "Each training ran with one seed only.",
    ]
    longest = " ".join([*told(rows, beside)[:3], *one_seed[-2:]])
    assert len(longest.split()) <= 80
    assert len(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", longest)) <= 4


def test_joint_training_is_judged_where_there_was_one_and_not_missed_elsewhere():
    fair = claims.IF_TRAINED[1]
    files = {"contrasts": "claims.csv", "costs": "", "answering": ""}
    for rival, said in (
        ([], []),
        ([contrast(1, "butterfly", 88.0, 91.0, "yes") | {"claim": fair.claim}], [fair.claim]),
    ):
        rows = [contrast(1, "butterfly", 25.0, 60.0, "yes"), *rival]
        table = pd.DataFrame(rows).assign(image="with", against="joint", low=-4.0, high=9.0)
        found = claims.claims(claims.Tables(pd.DataFrame(), table, pd.DataFrame(), files, {}))
        of_joint = [claim for claim in found if claim.claim in {rule.claim for rule in claims.IF_TRAINED}]
        assert [claim.claim for claim in of_joint] == said
        assert [claim.verdict for claim in of_joint] == ["reproduced"] * len(said)


def test_the_abstract_of_a_run_without_a_gain_says_so():
    assert told([contrast(1, "butterfly", 25.0, 75.0, "open", seeds=2)], [])[2:] == [
        "No gain over the untuned model is beyond chance."
    ]


def grid_of(tmp_path, rows):
    return as_grid(write_csv(pd.DataFrame(rows), tmp_path / "table.csv"))


def test_what_names_a_row_is_one_cell_and_numbers_come_next(tmp_path):
    same = {"model": "a", "domain": "butterfly", "protocol": "letter", "note": ""}
    modes = [
        {"mode": mode, "answering": "direct", "type1": right} for mode, right in (("base", 25.0), ("printed", 50.0))
    ]
    rows = [same | {"seeds": 3, "n_type1": 9} | mode | {"type1_low": 1.0, "type1_high": 99.0} for mode in modes]
    found = grid_of(tmp_path, [*rows, {**rows[0], "model": "b", "seeds": 1}])
    assert found.columns == ("trained on, asked", "Type 1: recognition", "seeds")
    assert found.groups == (
        (
            "a",
            (
                ("untuned, asked directly", "25.0 [1.0,\xa099.0]", "3"),
                ("printed text, asked directly", "50.0 [1.0,\xa099.0]", "3"),
            ),
        ),
        ("b", (("untuned, asked directly", "25.0 [1.0,\xa099.0]", "1"),)),
    )
    assert found.throughout == ("domain Butterfly", "protocol generated letter", "n (Type 1) 9")
    assert not found.one_seed


def test_one_seed_is_said_once_where_it_is_one(tmp_path):
    trained = [{"model": model, "seed": 0, "seconds": 1.5} for model in "ab"]
    found = grid_of(tmp_path, trained)
    assert (found.one_seed, found.throughout) == (True, ())
    assert found.groups == (("", (("a", "1.5"), ("b", "1.5"))),)  # a heading for every row would be none
    assert not grid_of(tmp_path, [*trained, {"model": "a", "seed": 1, "seconds": 1.5}]).one_seed


def test_columns_are_called_by_words_and_units(tmp_path):
    names = ["peak_memory_mb", "cpu_wh", "type1_p_holm", "n_retention", "image_text", "seconds"]
    found = grid_of(tmp_path, [{"phase": "train"} | dict.fromkeys(names, 1.5)] * 2)
    assert found.columns[1:] == (
        "peak memory (MB)", "CPU (Wh)", "Type 1 p (Holm)", "n (retention)", "image + text", "seconds"
    )  # fmt: skip


def test_a_table_or_figure_of_one_seed_says_so_on_the_page(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    assert '<h3>Table 1: accuracy with the image <span class="soft">(one seed)</span></h3>' in text
    assert "<strong>Figure 2: the cost of training</strong>\n" in text  # of two seeds
    assert "Each training ran with one seed only." in text


def test_a_grid_is_called_by_its_question(report):
    title = load_grid("ranks").title
    assert f'<h3 id="grid-ranks">{title}</h3>' in (report / "index.html").read_text(encoding="utf-8")


def test_a_number_leads_to_the_command_and_the_file_that_made_it(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    assert "python -m helpers.workflow.execute notebooks/07_paper.ipynb out.ipynb" in text
    assert (report / "files/results/table1.csv").read_bytes() == (report.parent / "results/table1.csv").read_bytes()
    assert (report / "files/notebooks/paper/all.manifest.json").is_file()
    assert (report / "files/figures/figure2.json").is_file()


def test_a_notebooks_page_keeps_its_form_and_loses_what_acts():
    said = "<h1>A</h1><p>b</p><style>td {}</style><table><thead><tr><th>1</th></tr></thead></table>"
    assert clean(said) == said.replace("<style>td {}</style>", "")
    acting = '<a href="javascript:x()">y</a><img src="x" onerror="y()"><iframe src="z"></iframe><script>1</script>'
    assert clean(acting) == "<a>y</a><img>"


def test_a_picture_in_a_notebook_is_called_after_its_section():
    none = f'<img alt="{NO_WORDS}" src="x">'
    named = with_words(f"{none}<h2 id='a'>Figure 2 &amp; <code>more</code></h2>{none}<h3>B</h3>{none}<img alt='mine'>")
    words = re.findall(r"alt=.(.*?)[\"']", named)
    assert words == [
        "An image",
        "An image in the section “Figure 2 &amp; more”",
        "An image in the section “B”",
        "mine",
    ]


def test_failed_notebooks_are_not_shown(report):
    assert [file.name for file in (report / "notebooks").rglob("*.html")] == ["all.html"]


def test_grids_are_shown_where_there_are_some(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    assert 'id="grid-ranks"' in text and 'id="figure-ranks"' in text
    assert 'id="grid-best_on_dev"' not in text  # answers to the dev questions


def test_nothing_private_is_in_the_report(report):
    for file in report.rglob("*"):
        if file.suffix in {".html", ".json", ".csv"}:
            text = file.read_text(encoding="utf-8")
            assert not [word for word in (str(ROOT) + "/", str(Path.home()) + "/") if word in text], file


def test_a_report_is_made_again_without_converting_what_has_not_changed(report):
    before = (report / "notebooks/paper/all.html").stat().st_mtime_ns
    first = (report / "index.html").read_text(encoding="utf-8")
    assert build(report.parent) == report / "index.html"
    assert (report / "notebooks/paper/all.html").stat().st_mtime_ns == before
    assert (report / "index.html").read_text(encoding="utf-8") == first


def test_a_run_without_tables_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table1\.csv"):
        build(tmp_path)


def test_a_run_on_own_classes_has_its_verdict_in_place_of_the_papers_claims(tmp_path, capsys):
    run = fabricate(tmp_path / "mine")
    for file in (run / "results").iterdir():
        file.unlink()
    reason = f"this model does not see your images {EVIL}"
    said = {"model": "qwen2_vl", "question_type": 1, "n": 12, "verdict": "cannot tell", "reason": reason}
    write_csv(pd.DataFrame([said]), run / "results/verdicts.csv")
    confused = {"model": "qwen2_vl", "right": "Atala", "chosen": "Viceroy", "times": 2, "offered": 3, "share": 66.7}
    write_csv(pd.DataFrame([confused]), run / "results/verdict_confusions.csv")
    shutil.rmtree(run / "notebooks")
    assert own_classes.main(["verdict", str(run)]) == 0
    assert "on one page: " in capsys.readouterr().out
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert not read(run / "report/index.html").wrong
    assert "Is text alone enough for these classes?" in page
    assert "type 1 (12 questions): CANNOT TELL. this model does not see your images &lt;script&gt;" in page
    assert "What the text-only model confuses" in page and "Viceroy" in page
    assert page.count('<li class="card">') == QUESTIONS  # images with what the models say
    for absent in ('id="claims"', "Choi et al. report", EVIL):
        assert absent not in page


def test_the_page_knows_nothing_of_the_page_before_it(tmp_path, monkeypatch):
    """Its record is there until the notebook has ended, and names a page and an executed copy that are gone."""
    run = fabricate(tmp_path / "made_up")
    before = run / "notebooks/report.manifest.json"
    gone = {"executed": {"gone.ipynb": "0"}, "outputs": {"gone.html": "0"}, "hardware": "of the page before"}
    provenance.write_json(before, {"notebook": "notebooks/10_report.ipynb", "exit": 0, **gone})
    assert _checked(verify([run])) == "5 ok, 1 stale"
    monkeypatch.setenv(provenance.MANIFEST, provenance.portable(before))
    assert _checked(verify([run])) == "5 ok, 0 stale"
    assert "of the page before" not in build(run).read_text(encoding="utf-8")


def test_the_softmax_by_hand():
    assert option_shares([0.0, 1.0986122886681098]) == pytest.approx((0.25, 0.75))
    assert sum(option_shares([-1000.0, 0.0, 3.0, 3.0])) == pytest.approx(1)
    assert option_shares(None) == option_shares([None, None]) == ()  # a protocol without scores


def test_the_gallery_asks_every_mode_the_same_dozen_at_random(report):
    (found,) = examples.galleries(report.parent)
    assert (found.model, found.domain, len(found.cards)) == ("qwen2_vl", "butterfly", 12)
    assert [card.question_type for card in found.cards] == [1] * 8 + [2] * 4
    for card in found.cards:
        assert [answer.mode for answer in card.answers] == ["base", "text_only", "image_text"]
        assert card.image.startswith("data:image/png;base64,")
        assert card.answers[0].shares[card.answers[0].chosen] == pytest.approx(1 / (1 + 3 * 2.718281828**-2), rel=1e-6)
    rows = read_answers(sorted((report.parent / "evaluation").rglob("answers.jsonl")))
    assert (
        choose_examples(rows, 3, 1, seed=1)
        == choose_examples(rows, 3, 1, seed=1)
        != choose_examples(rows, 3, 1, seed=2)
    )


def test_a_run_without_answers_has_no_gallery_and_a_lost_picture_leaves_its_card(tmp_path):
    assert examples.galleries(tmp_path) == []
    run = fabricate(tmp_path / "made_up")
    for file in (run / "evaluation").rglob("answers.jsonl"):
        file.write_text(file.read_text().replace('"images/', '"lost/'))
    (found,) = examples.galleries(run)
    assert {card.image for card in found.cards} == {None}
    assert all(card.question for card in found.cards)


def test_a_table_without_a_column_is_an_empty_one(tmp_path):
    assert as_grid(write_csv(pd.DataFrame(), tmp_path / "none.csv")) == GridOnPage((), (), 0)


def test_a_run_made_by_hand_is_told_from_one_that_was_checked(report, tmp_path):
    assert _checked(verify([tmp_path])) == "no manifest found, so the run was made by hand"
    assert _checked(verify([report.parent])) == "5 ok, 0 stale"
    by_hand = fabricate(tmp_path / "lab")
    shutil.rmtree(by_hand / "notebooks")
    page = build(by_hand).read_text(encoding="utf-8")
    assert "Made by hand: the workflow did not run its notebooks" in page and 'role="alert"' not in page
    assert "not judged" not in page and "Made by hand:" not in (report / "index.html").read_text(encoding="utf-8")


def test_a_claim_follows_its_rule(report, tmp_path):
    found = {
        claim.claim: claim.verdict
        for claim in claims.claims(claims.read_tables(report.parent, verify([report.parent])))
    }
    assert found["Text-only training never runs the vision tower"] == "reproduced"
    assert found["Text-only training takes less CPU time"] == "reproduced"
    assert found["Text-only training takes less memory above the loaded model"] == "not reproduced"  # the same 70 MB
    assert found["Text-only training takes less energy"] == "not measured"
    assert found["The same, if the model describes the image first (ours)"] == "not measured"
    # 9 of 12 against 3: six questions that only one got right, so p = 2 / 2^6 before and 4 / 2^6 after Holm
    assert found["Training on text alone teaches recognition in images, asked directly"] == "open"
    assert found["Recognition depends on the image: without it, accuracy is at chance"] == "open"  # 3 of 12
    assert set(found.values()) <= {"reproduced", "not reproduced", "open", "not measured"}


def test_a_training_by_hand_heads_the_page_and_what_rests_on_it_is_not_judged(tmp_path):
    """Answers written over: neither the claims on the tables made from them nor any of their numbers."""
    run = fabricate(tmp_path / "made_up")
    answers = run / "evaluation/qwen2_vl/butterfly/text_only/main/seed0/answers.jsonl"
    answers.write_text(answers.read_text().replace('"named": null', '"named": "by hand"'))
    checked = verify([run])
    found = claims.claims(claims.read_tables(run, checked))
    assert {claim.verdict for claim in found} == {"not judged: stale"}
    why = f"result changed: {provenance.portable(answers)}"
    assert all(why in claim.evidence and not any("%" in line for line in claim.evidence) for claim in found)
    said = Page((page := build(run, checked)).read_text(encoding="utf-8"))
    assert [attributes["class"] for attributes in said.all("div") if attributes.get("role") == "alert"] == ["banner"]
    text = page.read_text(encoding="utf-8")
    assert "of image-text training" not in text and "75.0\xa0%" not in text
    assert "Accuracies are stale, so none are quoted." in text
    assert "To rebuild what is stale: the command that made it" in text
    assert text.index('role="alert"') < text.index('id="abstract"')


def test_of_tables_only_those_in_doubt_are_not_judged(tmp_path):
    run = fabricate(tmp_path / "made_up")
    costs = run / "results/resources.csv"
    costs.write_text(costs.read_text().replace("60.0", "3.0"))
    found = {claim.claim: claim.verdict for claim in claims.claims(claims.read_tables(run, verify([run])))}
    assert found["Text-only training takes less CPU time"] == "not judged: stale"
    assert found["Recognition depends on the image: without it, accuracy is at chance"] == "open"


def test_what_nothing_recorded_is_named_on_the_page_and_not_judged(tmp_path):
    run = fabricate(tmp_path / "made_up")
    record = run / "notebooks/paper/all.manifest.json"
    content = json.loads(record.read_text())
    content["outputs"] = {name: h for name, h in content["outputs"].items() if not name.endswith("resources.csv")}
    provenance.write_json(record, content)
    checked = verify([run])
    found = {claim.claim: claim.verdict for claim in claims.claims(claims.read_tables(run, checked))}
    assert found["Text-only training takes less CPU time"] == "not judged: unrecorded"
    text = build(run, checked).read_text(encoding="utf-8")
    assert f"no record of: {provenance.portable(run / 'results/resources.csv')}" in text
    assert "Move what is unrecorded to a folder of its own" in text


def test_published_tables_that_were_changed_are_not_judged_in_reproduction_either(tmp_path, capsys):
    run = fabricate(tmp_path / "made_up")
    published = shutil.copytree(run / "figures", tmp_path / "published")
    for name in ("table1", "claims"):
        shutil.copy(run / f"results/{name}.csv", published)
        provenance.write_sidecar(published, name, [])
    assert claims.main([str(published)]) == 0
    assert "not judged" not in capsys.readouterr().out
    (published / "claims.csv").write_text((published / "claims.csv").read_text().replace("75.0", "99.0"))
    assert claims.main([str(published)]) == 1
    said = capsys.readouterr()
    assert "**not judged: stale** | file changed: " in said.out and "99.0" not in said.out
    assert "> **Some of this is not judged" in said.out and "verdicts are withheld" in said.err


def test_the_report_calls_models_as_the_profile_does(tmp_path, monkeypatch):
    run = fabricate(tmp_path / "made_up")
    text = build(run, displays={"qwen2_vl": "My Model 7B"}).read_text(encoding="utf-8")
    assert "<span>My Model 7B</span>" in text and "qwen2_vl" not in re.sub(r"<a href.*?</a>", "", text)
    assert re.search("<summary>My Model 7B, Butterfly, seed 0</summary>", text)
    assert "qwen2_vl" in (run / "results/table1.csv").read_text()


def test_of_table_1_alone_nothing_is_claimed_but_what_describing_changed(tmp_path, capsys):
    numbers = {f"{measure}{end}": 40.0 for measure in ("type1", "type2") for end in ("", "_low", "_high")}
    run = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "n_type1": 200, **numbers}
    rows = [run | {"answering": "direct"}, run | {"answering": "describe_then_answer", "type1": 65.5}]
    write_csv(pd.DataFrame(rows), tmp_path / "table1.csv")
    found = claims.read_tables(tmp_path, verify([tmp_path]))
    assert {claim.verdict for claim in claims.claims(found)} == {"not measured"}
    assert claims.abstract(found)[1:] == [
        "The paper's claim, that they do so as well as after training on images and text: not measured."
    ]
    assert claims.describing(found) == [f"Text only: {claims.label('qwen2_vl')} +25.5."]
    assert claims.main([str(tmp_path / "none")]) == 1
    said = capsys.readouterr()
    assert (said.out, "no table1.csv in " in said.err) == ("", True)


def test_reproduction_is_that_of_the_published_figures(capsys):
    assert claims.main(["figures/demo"]) == 0
    made = capsys.readouterr().out
    remedy = "run `python -m helpers.results.claims figures/demo > REPRODUCTION.md`"
    assert (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8") == made, remedy


SEEN = """[...document.querySelectorAll("img[src]")].filter(i => !i.closest("details:not([open])"))
  .map(i => [i.complete && i.naturalWidth > 0, i.getBoundingClientRect().width, i.alt])"""
DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
FOCUSED = "(document.activeElement.getAttribute('href') || document.activeElement.tagName).toLowerCase()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, where there is one."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (on Debian: apt install chromium)")
    pytest.importorskip("websocket", reason="websocket-client, which jupyter-server brings")
    with Browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 768, 1366])
def test_a_browser_shows_every_picture_without_a_complaint(report, browser, width):
    for page in (report / "index.html", report / "notebooks/paper/all.html"):
        browser.show(page, width)
        assert browser.complaints() == []
        assert browser.ask("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
        images = browser.ask(SEEN)
        assert all(loaded and wide > 50 and words for loaded, wide, words in images), images
    browser.show(report / "index.html", width)
    assert len(browser.ask(SEEN)) >= 12 + 2  # the gallery's open cards, Figure 2 and a grid's figure


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 768, 1366])
def test_the_picture_and_the_result_are_on_the_first_screen(report, browser, width):
    browser.show(report / "index.html", width, height=800)
    seen = "[...document.querySelectorAll('.lead img, .lead > div > p')].map(e => e.getBoundingClientRect().top)"
    assert max(browser.ask(seen)[:5]) < 800  # image, question, where from, what was asked, the claim's verdict


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 768, 1366])
def test_numbers_of_a_table_are_in_view_and_rows_keep_their_names(report, browser, width):
    browser.show(report / "index.html", width)
    first = "document.querySelector('#table-table1 tbody tr:last-child td')"
    assert browser.ask(f"{first}.getBoundingClientRect().right") <= width
    name = "document.querySelector('#table-table1 tbody tr:last-child th').getBoundingClientRect().left"
    before = browser.ask(name)
    region = "document.querySelector('#table-table1 .scroll')"
    browser.ask(f"{region}.style.width = '14rem'; {region}.scrollLeft = 80")
    assert browser.ask(f"{region}.scrollLeft") == 80 and browser.ask(name) == before


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_the_banner_is_red(tmp_path, browser, dark):
    run = fabricate(tmp_path / "made_up")
    (run / "results/table1.csv").write_text((run / "results/table1.csv").read_text() + "\n")
    browser.show(build(run), 390, dark=dark)
    for property in ("borderLeftColor", "backgroundColor"):
        style = f"getComputedStyle(document.querySelector('[role=alert]')).{property}.match(/\\d+/g).map(Number)"
        red, green, blue = browser.ask(style)[:3]
        assert red > max(green, blue), property


@pytest.mark.slow
def test_links_of_the_page_lead_somewhere_in_a_browser_too(report, browser):
    browser.show(report / "index.html", 1280)
    links = browser.ask("[...document.links].map(a => a.href)")
    links.remove(PAPER)
    assert links and all(link.startswith("file:") for link in links)
    broken = [link for link in links if not Path(unquote(link.removeprefix("file://").split("#")[0])).is_file()]
    assert broken == []
    assert browser.ask("[...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.querySelector(a.hash))")


@pytest.mark.slow
def test_in_the_dark_the_page_is_dark_and_its_words_are_light(report, browser):
    browser.show(report / "index.html", 375, dark=True)
    assert max(browser.ask(DARK)) < 60
    assert min(browser.ask(DARK.replace("backgroundColor", "color"))) > 180
    assert browser.complaints() == []
    browser.show(report / "index.html", 375)
    assert min(browser.ask(DARK)) > 240


@pytest.mark.slow
def test_the_page_can_be_read_by_keyboard(report, browser):
    browser.show(report / "index.html", 1280)
    browser.press("Tab")
    assert browser.ask(FOCUSED) == "#main"  # first of all: past the navigation
    visited = []
    for _ in range(120):
        browser.press("Tab")
        visited.append(browser.ask(FOCUSED))
    assert {"#abstract", "#tables", "#figures", "summary", "div", PAPER} <= set(
        visited
    )  # div: a table that can be scrolled
    browser.ask("document.querySelector('#table-table1 summary').focus()")
    browser.press("Enter")
    assert browser.ask("document.querySelector('#table-table1 details').open")
    outlined = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.ask(outlined) == "solid"


def test_data_addresses_hold_the_bytes():
    address = examples.data_address(struct.pack("B", 7), "png")
    assert base64.b64decode(address.split(",")[1]) == b"\x07"


def test_answers_are_never_shown_with_the_images_of_another_data_set(tmp_path):
    fields = {"domain": "own", "question_type": 1, "category": "name", "class_id": None, "question": "Which?"}
    fields |= {"options": list("abcd"), "answer": 0, "image": None}
    asked = [Question(question_id=f"q{n}", split=split, **fields) for n, split in enumerate(("test", "test", "dev"))]
    write_questions(tmp_path / "questions.jsonl", asked)
    for split in ("test", "dev"):
        known = questions_hash(question for question in asked if question.split == split)
        check_data_set(pd.DataFrame({"dataset_hash": [known, None]}), tmp_path)
    check_data_set(pd.DataFrame({"question_id": ["q0"]}), tmp_path)  # older answers
    check_data_set(pd.DataFrame({"dataset_hash": ["aaa"]}), tmp_path / "nowhere")
    other = pd.DataFrame({"dataset_hash": ["aaa"], "question_id": ["q0"]})
    for read in (check_data_set, lambda rows, folder: answer_cards(rows, folder, ["q0"])):
        with pytest.raises(ValueError, match=r"the answers are to data set aaa, and .* holds another one"):
            read(other, tmp_path)
