"""What was found in a folder: problems, which stop everything, and notes. Each has file, row, rule and remedy."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TableProblem:
    """A remark about a place in the folder: the rule that it breaks, and what to do."""

    file: str
    row: int | None  # line in the file, from 1 as in editors; None: the whole file
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{where}: {self.rule}" + (f"; {self.remedy}" if self.remedy else "")


class Findings:
    """What has been found so far."""

    def __init__(self, tokens: Sequence[str] = ()) -> None:
        self.problems: list[TableProblem] = []
        self.notes: list[TableProblem] = []
        self._rows: set[tuple[str, int | None]] = set()  # that have a problem
        self.tokens = tuple(tokens)  # special tokens of the models at hand, which no cell may hold

    def problem(self, file: str, row: int | None, rule: str, remedy: str) -> None:
        self.problems.append(TableProblem(file, row, rule, remedy))
        self._rows.add((file, row))

    def note(self, file: str, row: int | None, rule: str, remedy: str = "") -> None:
        self.notes.append(TableProblem(file, row, rule, remedy))

    def has_problem(self, file: str, row: int) -> bool:
        """Whether a row has a problem already, so that nothing can be made of it."""
        return (file, row) in self._rows
