"""The one door to the questions: opening the test's leaves a line in the manifest of the run.

Settings are chosen on the dev questions, and the tables report the test. So nothing else in the package or in the
notebooks reads a file of questions or picks a split, training and teaching code cannot reach this module
(`tests/test_splits.py` reads all of it), and whoever opens the test says what for. The data-set build opens it too, to
copy and to audit it: its numbers go on the card, and no setting depends on them. A domain that makes questions is not
a reader of the test; it writes it.

The manifest (`helpers.workflow.manifest`) adds which notebook it was, by name and hash. Outside the workflow there is
no manifest, and so no record.
"""

import json
from pathlib import Path
from typing import get_args

from helpers.schemas import Question, QuestionSplit, read_questions
from helpers.workflow.provenance import manifest_in_progress, opened_beside, portable, sha256

QUESTION_SPLITS = get_args(QuestionSplit)


def open_questions(path: str | Path, *splits: str, use: str) -> list[Question]:
    """The questions of one or more splits, in file order; ``use``: what they are opened for, in a few words.

    Raises ``ValueError`` for an unknown split or an empty ``use``, and as `helpers.rows.iterate_rows` does.
    """
    if not splits or set(splits) - set(QUESTION_SPLITS):
        raise ValueError(
            f"splits are {', '.join(splits) or 'not named'}; name one or more of {', '.join(QUESTION_SPLITS)}"
        )
    if not use.strip():
        raise ValueError("use is empty; say what the questions are opened for, such as 'answers'")
    questions = [question for question in read_questions(path) if question.split in splits]
    manifest = manifest_in_progress()
    if "test" in splits and manifest:
        count = sum(question.split == "test" for question in questions)
        line = {"use": use, "file": portable(Path(path).resolve()), "sha256": sha256(path), "questions": count}
        with opened_beside(manifest).open("a", encoding="utf-8") as record:
            record.write(json.dumps(line, ensure_ascii=False) + "\n")
    return questions
