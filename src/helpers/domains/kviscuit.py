"""K-VISCUIT (Baek et al., arXiv 2406.16469), as published in its repository or on the hub.

657 questions about 237 photographs of Korean culture. Each image has one type-1 question, whose answer is the keyword
for which the paper's training texts were written, and one to three type-2 questions. There are two layouts:
``annotations.jsonl`` beside ``images/`` (github.com/ddehun/k-viscuit, folder ``dataset``), and parquet files with the
same fields and the column ``image`` (huggingface.co/datasets/ddehun/k-viscuit). Both contain the same questions and
images.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from helpers.domains import parquet_source
from helpers.domains.interface import DataSource, Domain, DomainRequest, LeftOut, Origin, Subject
from helpers.images import bring_images, check_image_file
from helpers.paths import resolve
from helpers.rows import RelativePath, Row, Text, check_image, read_rows
from helpers.schemas import Answer, ClassText, Options, Question, QuestionType, Said

_DOMAIN = "kviscuit"
ANNOTATIONS = "annotations.jsonl"
_IMAGES = "images"
IMAGE = "image"  # the column of the parquet files

# Questions of type 1 and type 2 in the published set, so that an incomplete copy is noticed at once.
PUBLISHED = {
    "Food": (61, 81),
    "Beverage": (14, 38),
    "GamePlayPerformance": (15, 37),
    "Celebrations": (23, 24),
    "Religion": (10, 17),
    "Tool": (30, 45),
    "Clothes": (15, 22),
    "Heritage": (26, 36),
    "ArchitecturePlaces": (29, 80),
    "Agriculture": (14, 40),
}


class Annotation(Row):
    """A row as the authors wrote it; ``id_`` is not unique."""

    model_config = ConfigDict(extra="ignore")  # the file is not ours: further fields are allowed

    question: Said
    options: Options
    answer: Answer
    category: Text
    id_: Text
    question_type: QuestionType
    image_url: str
    image_path: RelativePath  # relative to the folder of images


@dataclass(frozen=True)
class KViscuit:
    """The data set as read; ``bring`` puts the given images into another folder."""

    folder: Path
    questions: list[Question]
    bring: Callable[[Iterable[str], Path], None] = field(repr=False)
    faults: dict[str, str] = field(default_factory=dict)  # image: why it cannot be read
    left_out: int = 0  # questions about images in `faults`, of the chosen classes

    def keywords(self) -> list[str]:
        """The classes: the distinct answers to the type-1 questions, in file order."""
        return list(dict.fromkeys(q.right_option for q in self.questions if q.question_type == 1))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Numbers of type-1 and type-2 questions, by category."""
        found = Counter((q.category, q.question_type) for q in self.questions)
        return {name: (found[name, 1], found[name, 2]) for name in dict.fromkeys(q.category for q in self.questions)}


@dataclass(frozen=True)
class KViscuitDomain(Domain):
    """K-VISCUIT's photographs and questions; all are for testing, so there are no training images."""

    data: KViscuit

    def table(self) -> list[dict[str, Any]]:
        """One row per category: the number of questions in this copy and in the published set."""
        none = (None, None)
        return [
            {
                "category": name,
                "type 1": one,
                "type 2": two,
                "published type 1": PUBLISHED.get(name, none)[0],
                "published type 2": PUBLISHED.get(name, none)[1],
            }
            for name, (one, two) in self.data.counts().items()
        ]

    def bring_images(self, folder: Path) -> None:
        self.data.bring({q.image for q in self.data.questions if q.image}, folder)

    def questions(self) -> list[Question]:
        return self.data.questions

    def left_out(self) -> LeftOut | None:
        lacking = LeftOut(questions=self.data.left_out, image_files=list(self.data.faults))
        return lacking if lacking.questions else None

    def class_info(self) -> list[Subject]:
        return [
            Subject(_DOMAIN, keyword, keyword, keyword, category, prompt="culture")
            for keyword, category in self._categories().items()
        ]

    def offline_texts(self, wordings: int) -> list[ClassText]:
        """Offline, only a keyword's category is known and nothing about its appearance: enough to run the pipeline,
        but not to learn anything. A writer with knowledge of the world does better. There is only one wording.
        """
        return [
            ClassText(
                class_id=keyword,
                name=keyword,
                domain=_DOMAIN,
                appearance=f"This belongs to the Korean culture, category {category}.",
                background="Nothing more is known of it offline.",
                wording=0,
                writer="offline",
                image=None,
            )
            for keyword, category in self._categories().items()
        ]

    def _categories(self) -> dict[str, str]:
        """The category of each keyword, in file order."""
        return {q.right_option: q.category for q in self.data.questions if q.question_type == 1}


def open_kviscuit(request: DomainRequest) -> KViscuitDomain:
    """The questions of a folder or hub id, only those about the first ``limit_classes`` keywords."""
    return KViscuitDomain(load_kviscuit(request.path, request.missing_images == "leave_out", request.limit_classes))


KVISCUIT = DataSource(
    open_kviscuit,
    Origin(
        "Questions and photographs of K-VISCUIT (Baek et al., arXiv 2406.16469; hub id ddehun/k-viscuit). "
        "Its card says CC BY 4.0; the photographs are third parties', each under a licence of its own.",
        "other",
    ),
    labels={_DOMAIN: "K-Viscuit"},
    leaves_out=True,
)


def load_kviscuit(source: str | Path, leave_out_faulty: bool = False, classes: int | None = None) -> KViscuit:
    """Read the annotations and check every image; ``source`` is a folder of either layout or a hub id.

    ``classes``: only the questions about the first keywords; None: all. Missing and unreadable images are an error that
    names all of them. With ``leave_out_faulty``, their questions are left out instead; see ``faults`` and ``left_out``.
    Accuracies are then not comparable with published ones. Raises ``ValueError``, naming file, line and field, for a
    malformed row, and if no question is left; ``FileNotFoundError`` without annotations.
    """
    files = parquet_source.parquet_files(source, "test")
    data = _from_parquet(files) if files else _from_folder(resolve(source))
    if data.faults and not leave_out_faulty:
        listed = "\n".join(f"  {name}: {why}" for name, why in data.faults.items())
        raise ValueError(
            f"{source}: {len(data.faults)} image(s) missing or unreadable:\n{listed}\nFetch them again, or leave their "
            "questions out, which is counted and told: --set domains.NAME.missing_images=leave_out"
        )
    chosen = set(data.keywords()[:classes])
    asked = [question for question in data.questions if question.class_id in chosen]
    kept = [question for question in asked if question.image not in data.faults]
    if not kept:
        raise ValueError(f"{source}: no question is left, as {len(data.faults)} image(s) are missing; fetch them again")
    lacking = {str(question.image) for question in asked} & set(data.faults)
    faults = {name: why for name, why in data.faults.items() if name in lacking}
    return replace(data, questions=kept, faults=faults, left_out=len(asked) - len(kept))


def _from_folder(folder: Path) -> KViscuit:
    if not (folder / ANNOTATIONS).is_file() and (folder / "dataset" / ANNOTATIONS).is_file():
        folder = folder / "dataset"  # the repository itself
    path = folder / ANNOTATIONS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; the folder must hold {ANNOTATIONS} and {_IMAGES}/, or parquet files from the hub"
        )
    questions = _questions(read_rows(path, Annotation), path)
    bring = lambda names, target: bring_images(names, folder, target)  # noqa: E731
    return KViscuit(folder, questions, bring, _faults(folder, questions))


def _from_parquet(files: Sequence[Path]) -> KViscuit:
    names = [*Annotation.model_fields, IMAGE]
    found = parquet_source.columns(files)
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{files[0]}: no column {', '.join(missing)}; found: {', '.join(found)}. Is it K-VISCUIT?")
    book = parquet_source.ImageBook(files, IMAGE)
    annotations = []
    for place, values in parquet_source.iterate_parquet(files, names):
        annotations.append(parquet_source.as_row(Annotation, values, parquet_source.where(files, place)))
        book.add(f"{_IMAGES}/{annotations[-1].image_path}", values[IMAGE], place)
    return KViscuit(files[0].parent, _questions(annotations, files[0]), book.bring, book.faults)


def _questions(annotations: Sequence[Annotation], path: Path) -> list[Question]:
    """The annotations as `Question`. An id is the authors' ``id_`` with a running number, as it is not unique."""
    if not annotations:
        raise ValueError(f"{path}: holds no question; fetch it again, or name another folder")
    keywords = _keywords(annotations, path)
    used: Counter[str] = Counter()
    questions = []
    for row in annotations:
        questions.append(_question(row, used[row.id_], keywords[row.image_path]))
        used[row.id_] += 1
    return questions


def _question(row: Annotation, number: int, keyword: str) -> Question:
    return Question(
        domain=_DOMAIN,
        question_id=f"{row.id_}#{number}",
        question_type=row.question_type,
        category=row.category,
        class_id=keyword,
        question=row.question,
        options=row.options,
        answer=row.answer,
        image=f"{_IMAGES}/{row.image_path}",
        split="test",
    )


def _keywords(annotations: Sequence[Annotation], path: Path) -> dict[str, str]:
    """The answer to each image's only type-1 question."""
    first = [row for row in annotations if row.question_type == 1]
    number = Counter(row.image_path for row in first)
    wrong = {row.image_path: number[row.image_path] for row in annotations if number[row.image_path] != 1}
    if wrong:
        listed = ", ".join(f"{name} has {count}" for name, count in wrong.items())
        raise ValueError(f"{path}: each image needs exactly one type-1 question; {listed}. Fetch the file again")
    return {row.image_path: row.options[row.answer] for row in first}


def _faults(folder: Path, questions: Sequence[Question]) -> dict[str, str]:
    """Checks each image once, one after the other, so that memory does not grow with their number."""
    faults = {}
    for name in dict.fromkeys(image for question in questions for image in question.images):
        try:
            check_image_file(check_image(folder, name, ANNOTATIONS))
        except ValueError as error:
            faults[name] = str(error)
    return faults
