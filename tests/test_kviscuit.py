"""The reader of K-VISCUIT on the real sample, if it lies beside the repository, and on small copies of both layouts."""

import base64
import json

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from helpers.config.writer import Writer
from helpers.datasets.audit import audit
from helpers.datasets.left_out import count_left_out, read_left_out, write_left_out
from helpers.domains import check_source, open_domain, parquet_source
from helpers.domains.interface import LeftOut
from helpers.domains.kviscuit import PUBLISHED, load_kviscuit
from helpers.images import open_image
from helpers.paths import ROOT, is_hub_id
from helpers.schemas import Question, read_questions, write_questions
from helpers.writer.interface import open_writer

SAMPLE = ROOT.parent / "shared" / "data" / "kviscuit_sample"
CATEGORIES = {
    "Food": (4, 4),
    "Beverage": (4, 10),
    "GamePlayPerformance": (4, 10),
    "Celebrations": (4, 4),
    "Religion": (4, 7),
    "Tool": (4, 6),
    "Clothes": (4, 6),
    "Heritage": (4, 6),
    "ArchitecturePlaces": (4, 11),
    "Agriculture": (4, 12),
}


@pytest.fixture(scope="module")
def sample():
    if not SAMPLE.is_dir():
        pytest.skip("the sample of K-VISCUIT is not beside the repository (../shared/data/kviscuit_sample)")
    return load_kviscuit(SAMPLE)


def test_the_sample_has_116_questions_on_40_pictures(sample):
    assert len(sample.questions) == 116
    assert len({question.image for question in sample.questions}) == 40
    assert (sample.faults, sample.left_out) == ({}, 0)
    assert sample.counts() == CATEGORIES


def test_the_sample_has_one_type_1_question_a_picture_and_its_answer_is_the_class(sample):
    first = [question for question in sample.questions if question.question_type == 1]
    assert len({question.image for question in first}) == len(first) == 40
    assert all(question.class_id == question.right_option for question in first)
    assert len(sample.keywords()) == 39  # Suwon Hwaseong is the answer of two pictures
    assert {question.class_id for question in sample.questions} == set(sample.keywords())


def test_every_picture_of_the_sample_opens_in_rgb(sample):
    opened = {name: open_image(SAMPLE / name) for name in {question.image for question in sample.questions}}
    assert {image.mode for image in opened.values()} == {"RGB"}
    assert opened["images/78.png"].size == (60, 98)  # the smallest, and one of two with transparency


def test_the_sample_passes_the_audit_and_shows_its_blind_baseline(sample):
    found = audit(sample.questions, [], sample.folder)
    assert found["test_images"] == 40
    assert found["type1"]["longest_option"] == 30.0


def annotation(id_: str, kind: int, image: str, answer: int = 0, **other) -> dict:
    return {
        "question": f"What is it, {id_}?",
        "options": ["hanbok", "gat", "norigae", "beoseon"],
        "answer": answer,
        "category": "Clothes",
        "id_": id_,
        "question_type": kind,
        "image_url": "https://example.org/a.jpg",
        "image_path": image,
        **other,
    }


@pytest.fixture
def folder(tmp_path):
    """Not ``tmp_path`` itself: parquet files anywhere below a folder are what is read."""
    folder = tmp_path / "original"
    (folder / "images").mkdir(parents=True)
    Image.new("RGBA", (60, 98), (0, 0, 0, 0)).save(folder / "images" / "1.png")
    Image.new("RGB", (120, 80), "red").save(folder / "images" / "2.jpg")
    rows = [
        annotation("Clothes.1.0", 1, "1.png"),
        annotation("Clothes.1.1", 2, "1.png", 3),
        annotation("Clothes.1.1", 2, "1.png", 2),  # the authors' ids are not unique
        annotation("Clothes.2.0", 1, "2.jpg", 1),
    ]
    return write(folder, rows)


def write(folder, rows):
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


def test_ids_are_made_unique_and_stay_the_same(folder):
    ids = [question.question_id for question in load_kviscuit(folder).questions]
    assert ids == ["Clothes.1.0#0", "Clothes.1.1#0", "Clothes.1.1#1", "Clothes.2.0#0"]
    assert ids == [question.question_id for question in load_kviscuit(folder).questions]


def test_a_row_becomes_a_question_of_the_common_form(folder):
    assert load_kviscuit(folder).questions[1] == Question(
        domain="kviscuit",
        question_id="Clothes.1.1#0",
        question_type=2,
        category="Clothes",
        class_id="hanbok",
        question="What is it, Clothes.1.1?",
        options=["hanbok", "gat", "norigae", "beoseon"],
        answer=3,
        image="images/1.png",
        split="test",
    )


def test_keywords_are_the_answers_of_type_1(folder):
    assert load_kviscuit(folder).keywords() == ["hanbok", "gat"]


def test_the_questions_can_be_written_beside_their_pictures_and_read_again(folder):
    questions = load_kviscuit(folder).questions
    assert read_questions(write_questions(folder / "questions.jsonl", questions)) == questions


def test_all_missing_and_broken_pictures_are_named_and_counted(folder):
    (folder / "images" / "1.png").write_bytes((folder / "images" / "1.png").read_bytes()[:60])
    (folder / "images" / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"2 image\(s\) missing or unreadable") as error:
        load_kviscuit(folder)
    assert "images/1.png: " in str(error.value)
    assert "images/2.jpg: " in str(error.value)


def test_faulty_pictures_can_be_left_out_but_not_in_silence(folder):
    (folder / "images" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"Fetch them again, or .* --set domains\.NAME\.missing_images=leave_out"):
        load_kviscuit(folder)
    data = load_kviscuit(folder, leave_out_faulty=True)
    assert [question.question_id for question in data.questions] == ["Clothes.2.0#0"]
    assert (list(data.faults), data.left_out) == (["images/1.png"], 3)


def opened(folder, classes=None, missing_images="leave_out"):
    return open_domain("kviscuit", "kviscuit", folder, classes, 1, 56, 0, missing_images=missing_images)


def test_what_is_left_out_is_counted_for_the_classes_that_are_read(folder):
    (folder / "images" / "2.jpg").write_bytes(b"not an image")
    assert opened(folder).left_out() == LeftOut(questions=1, image_files=["images/2.jpg"])
    assert opened(folder, classes=1).left_out() is None  # of the first class, nothing is missing
    (folder / "images" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"no question is left, as 2 image\(s\) are missing"):
        opened(folder)


def test_without_faults_leaving_out_changes_nothing(folder):
    assert opened(folder).questions() == opened(folder, missing_images="refuse").questions()
    assert opened(folder).left_out() is None


@pytest.mark.parametrize(("source", "path"), [("own", "x"), ("butterflies", "x"), ("drawn", None)])
def test_only_a_source_that_can_leave_questions_out_takes_the_setting(source, path):
    with pytest.raises(ValueError, match=r"missing_images is 'leave_out' with source .*: only kviscuit can leave"):
        check_source("butterfly", source, path, "leave_out")
    with pytest.raises(ValueError, match="missing_images is 'skip'"):
        check_source("kviscuit", "kviscuit", "x", "skip")


def test_the_count_goes_with_the_data_until_nothing_is_left_out_any_more(tmp_path):
    found = LeftOut(questions=3, image_files=["images/1.png"])
    said = "3 questions left out: their 1 images are missing or unreadable (images/1.png)"
    assert write_left_out(tmp_path, found) == said
    assert (read_left_out(tmp_path), count_left_out(tmp_path)) == (found, 3)
    assert write_left_out(tmp_path, None) == "no question was left out"
    assert (read_left_out(tmp_path), count_left_out(tmp_path), list(tmp_path.iterdir())) == (None, None, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("answer", 4), ("options", ["a", "b"]), ("question_type", 0), ("image_path", "../a.jpg"), ("question", "")],
)
def test_a_malformed_row_is_named(folder, field, value):
    rows = rows_of(folder)
    rows[2][field] = value
    with pytest.raises(ValueError, match=rf"annotations\.jsonl:3: {field}"):
        load_kviscuit(write(folder, rows))


def test_a_picture_without_its_type_1_question_is_refused(folder):
    with pytest.raises(ValueError, match=r"exactly one type-1 question; 1\.png has 0"):
        load_kviscuit(write(folder, rows_of(folder)[1:]))


def test_a_folder_of_another_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold annotations\.jsonl and images/"):
        load_kviscuit(tmp_path)


def test_the_repository_itself_may_be_named(folder):
    inside = folder / "clone" / "dataset"
    inside.mkdir(parents=True)
    (folder / "images").rename(inside / "images")
    (folder / "annotations.jsonl").rename(inside / "annotations.jsonl")
    assert len(load_kviscuit(folder / "clone").questions) == 4


def test_the_published_set_has_657_questions_on_237_pictures():
    assert (sum(one for one, _ in PUBLISHED.values()), sum(two for _, two in PUBLISHED.values())) == (237, 420)


def test_the_table_shows_how_many_the_published_set_has(folder):
    table = open_domain("kviscuit", "kviscuit", folder, None, 1, 56, 0).table()
    counts = {"type 1": 2, "type 2": 2, "published type 1": 15, "published type 2": 22}
    assert table == [{"category": "Clothes", **counts}]


def test_it_is_all_test_and_nothing_of_what_a_model_knew_is_asked(folder):
    domain = open_domain("kviscuit", "kviscuit", folder, None, 1, 56, 0)
    assert [question.split for question in domain.questions()] == ["test"] * 4
    assert domain.retention_questions() == []


def test_a_writer_is_told_the_category_of_each_keyword_and_offline_nothing_else_is_known(folder):
    domain = open_domain("kviscuit", "kviscuit", folder, None, 1, 56, 0)
    assert [(one.class_id, one.called, one.category, one.image, one.asked) for one in domain.class_info()] == [
        ("hanbok", "hanbok", "Clothes", None, ()),
        ("gat", "gat", "Clothes", None, ()),
    ]
    texts = open_writer(Writer(), "kviscuit").write(domain, folder, 1).texts
    assert [(text.class_id, text.appearance, text.image) for text in texts] == [
        (name, "This belongs to the Korean culture, category Clothes.", None) for name in ("hanbok", "gat")
    ]


# -- the hub's form


def parquet(folder, target, change=lambda rows: rows, name="data/test-00000-of-00001.parquet", **options):
    """The original layout as the hub has it: the picture's bytes in each row."""
    rows = [
        {**row, "image": {"bytes": (folder / "images" / row["image_path"]).read_bytes(), "path": row["image_path"]}}
        for row in rows_of(folder)
    ]
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(change(rows)), target / name, **options)
    return target


def test_both_layouts_give_the_same_questions_and_the_same_pictures(folder, tmp_path):
    hubs = parquet(folder, tmp_path / "hub", row_group_size=2)
    assert load_kviscuit(hubs).questions == load_kviscuit(folder).questions
    for source, target in ((folder, tmp_path / "a"), (hubs, tmp_path / "b")):
        open_domain("kviscuit", "kviscuit", source, None, 1, 56, 0).bring_images(target)
    for name in ("images/1.png", "images/2.jpg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "b").rglob("*.*")) == ["1.png", "2.jpg"]


def test_the_real_sample_reads_the_same_from_parquet(sample, tmp_path):
    rows = [json.loads(line) for line in (SAMPLE / "annotations.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "images").symlink_to(SAMPLE / "images")
    hubs = parquet(write(tmp_path, rows), tmp_path / "hub")
    assert load_kviscuit(hubs).questions == sample.questions


def test_only_the_pictures_of_the_questions_kept_are_written(folder, tmp_path):
    hubs = parquet(folder, tmp_path / "hub")
    open_domain("kviscuit", "kviscuit", hubs, 1, 1, 56, 0).bring_images(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["1.png"]


def test_pictures_in_parquet_that_are_missing_or_broken_are_all_named(folder, tmp_path):
    def spoil(rows):
        rows[3]["image"] = {"bytes": rows[3]["image"]["bytes"][:80], "path": None}
        return [{**row, "image": {"bytes": None, "path": "1.png"}} for row in rows[:3]] + rows[3:]

    hubs = parquet(folder, tmp_path / "hub", spoil)
    with pytest.raises(ValueError, match=r"2 image\(s\) missing or unreadable") as error:
        load_kviscuit(hubs)
    assert "images/1.png: " in str(error.value)
    assert "row 1: the image has no bytes" in str(error.value)
    assert "row 4: not a readable image" in str(error.value)
    with pytest.raises(ValueError, match=r"no question is left, as 2 image\(s\) are missing"):
        load_kviscuit(hubs, leave_out_faulty=True)


@pytest.mark.parametrize(
    "form", ["struct in a list", "bytes in a list", "base64", "data address", "base64 in a struct"]
)
def test_images_in_other_forms_are_the_same_images(folder, tmp_path, form):
    def changed(rows):
        for row in rows:
            content = row["image"]["bytes"]
            encoded = base64.b64encode(content).decode()
            row["image"] = {
                "struct in a list": [row["image"]],
                "bytes in a list": [content],
                "base64": encoded,
                "data address": f"data:image/jpeg;base64,{encoded}",
                "base64 in a struct": {"bytes": encoded, "path": "1.png"},
            }[form]
        return rows

    hubs = parquet(folder, tmp_path / "hub", changed)
    assert load_kviscuit(hubs).questions == load_kviscuit(folder).questions
    load_kviscuit(hubs).bring(["images/1.png"], tmp_path / "out")
    assert (tmp_path / "out" / "images" / "1.png").read_bytes() == (folder / "images" / "1.png").read_bytes()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("images/1.png", "which is not base64"),
        ("https://example.org/1.png", "which is not base64"),
        (7, "a value of type int"),
        (0.5, "a value of type float"),
        ([], "has no bytes"),
        ([b"a", b"b"], "has 2 images"),
    ],
)
def test_a_row_whose_image_cannot_be_one_is_named_with_its_file(folder, tmp_path, image, said):
    def changed(rows):
        return [{**row, "image": image} for row in rows]

    hubs = parquet(folder, tmp_path / "hub", changed)
    with pytest.raises(ValueError, match=r"2 image\(s\) missing or unreadable") as error:
        load_kviscuit(hubs)
    assert "test-00000-of-00001.parquet, row 1: " in str(error.value)
    assert said in str(error.value)


def test_one_name_for_two_pictures_is_refused(folder, tmp_path):
    def swap(rows):
        return [*rows[:2], {**rows[2], "image": rows[3]["image"]}, rows[3]]

    with pytest.raises(ValueError, match=r"row 3: 'images/1\.png' is not the same image as in an earlier row"):
        load_kviscuit(parquet(folder, tmp_path / "hub", swap))


@pytest.mark.parametrize(
    ("field", "value"),
    [("answer", 4), ("options", ["a", "b"]), ("image_path", "../../a.jpg"), ("image_path", "/etc/a")],
)
def test_a_malformed_row_of_parquet_is_named(folder, tmp_path, field, value):
    def spoil(rows):
        rows[2][field] = value
        return rows

    with pytest.raises(ValueError, match=rf"test-00000-of-00001\.parquet, row 3: {field}: must be|row 3: {field}: "):
        load_kviscuit(parquet(folder, tmp_path / "hub", spoil))


def test_missing_columns_are_named_with_those_there(folder, tmp_path):
    def spoil(rows):
        return [{key: row[key] for key in row if key != "options"} for row in rows]

    with pytest.raises(ValueError, match="no column options; found: question, answer, "):
        load_kviscuit(parquet(folder, tmp_path / "hub", spoil))


def test_files_of_two_data_sets_are_not_read_as_one(folder, tmp_path):
    def spoil(rows):
        return [{key: row[key] for key in row if key != "options"} for row in rows]

    hubs = parquet(folder, tmp_path / "hub")
    parquet(folder, hubs, spoil, name="data/test-00001-of-00002.parquet")
    said = (
        r"test-00001-of-00002\.parquet: columns .* differ from .* in test-00000-of-00001\.parquet; leave one data set"
    )
    with pytest.raises(ValueError, match=said):
        load_kviscuit(hubs)


def test_a_picture_that_later_rows_leave_out_is_that_of_the_first(folder, tmp_path):
    def empty(rows):
        return [rows[0], *({**row, "image": {"bytes": None, "path": "1.png"}} for row in rows[1:3]), rows[3]]

    data = load_kviscuit(parquet(folder, tmp_path / "hub", empty))
    assert (len(data.questions), data.faults) == (4, {})


def test_columns_are_told_apart_by_what_they_hold(tmp_path):
    columns = {
        "label": pyarrow.array(["a", "b"]).dictionary_encode(),
        "share": [0.5, 1.0],
        "options": [["a"], ["b"]],
        "answer": [1, 2],
        "image": [b"x", b"y"],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    kinds = {"label": "text", "share": "double", "options": "texts", "answer": "number", "image": "image"}
    assert parquet_source.columns([tmp_path / "a.parquet"]) == kinds


def test_a_picture_of_too_many_bytes_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(ValueError, match="bytes; at most 100 are allowed"):
        load_kviscuit(parquet(folder, tmp_path / "hub"))


def test_a_row_group_that_unpacks_to_too_much_is_refused_before_it_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "MAX_GROUP_BYTES", 100)
    with pytest.raises(ValueError, match=r"a row group unpacks to .* bytes; at most 100 are allowed"):
        load_kviscuit(parquet(folder, tmp_path / "hub"))


def test_a_parquet_file_cut_short_is_named(folder, tmp_path):
    file = parquet(folder, tmp_path / "hub") / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"test-00000-of-00001\.parquet: not a readable parquet file"):
        load_kviscuit(tmp_path / "hub")


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    inside = tmp_path / "inside"
    (inside / "images").mkdir(parents=True)
    write(inside, rows_of(folder))
    (inside / "images" / "1.png").symlink_to(folder / "images" / "1.png")
    (inside / "images" / "2.jpg").write_bytes((folder / "images" / "2.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"images/1\.png: .* leads out of .* by a link"):
        load_kviscuit(inside)
    (tmp_path / "linked").mkdir()
    file = parquet(folder, tmp_path / "hub") / "data" / "test-00000-of-00001.parquet"
    (tmp_path / "linked" / "a.parquet").symlink_to(file)
    with pytest.raises(ValueError, match=r"a\.parquet leads out of .* by a link"):
        load_kviscuit(tmp_path / "linked")


def test_an_archive_is_to_be_unpacked_first(tmp_path):
    (tmp_path / "kviscuit.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is a file; name the folder it lies in, and unpack an archive first"):
        load_kviscuit(tmp_path / "kviscuit.zip")


def test_the_files_of_the_split_are_read_and_the_others_are_not(folder, tmp_path):
    hubs = parquet(folder, tmp_path / "hub")
    parquet(folder, hubs, name="data/train-00000-of-00001.parquet")
    assert len(load_kviscuit(hubs).questions) == 4


def test_a_hub_id_is_fetched_at_the_revision_named(folder, tmp_path, monkeypatch):
    asked = []
    hubs = parquet(folder, tmp_path / "hub")

    def snapshot_download(name, **options):
        asked.append((name, options["repo_type"], options["revision"]))
        return str(hubs)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert len(load_kviscuit("ddehun/k-viscuit").questions) == 4
    assert len(load_kviscuit("ddehun/k-viscuit@4d731db").questions) == 4
    assert asked == [("ddehun/k-viscuit", "dataset", None), ("ddehun/k-viscuit", "dataset", "4d731db")]


def test_a_hub_that_cannot_be_reached_says_so(monkeypatch):
    def snapshot_download(name, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match="ddehun/k-viscuit: there is no such folder here, and it could not be fetched"):
        load_kviscuit("ddehun/k-viscuit")


def test_a_misspelt_folder_is_no_hub_id():
    assert not is_hub_id("data/kviscui")
    assert not is_hub_id("/mnt/kviscuit")
    assert not is_hub_id("../kviscuit")
