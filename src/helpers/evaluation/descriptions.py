"""The untuned model's descriptions of images, written once and used by every run that needs them.

With the adapter off, every tuned model is its base model. So the evaluation of each adapter would repeat the base
model's descriptions token by token, in every mode, seed and variant, and writing is the slow part of this strategy. A
file of descriptions records how it was made, and is used only if the same would be made now: same base model, precision
and length. A description is looked up by the question and the image's pixels.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from helpers.evaluation.prompts import Prompt, content_key
from helpers.evaluation.reader import Reader, Reply
from helpers.paths import atomic_write
from helpers.workflow.stopwatch import Spent, Stopwatch

_UNKNOWN = Spent(math.nan, math.nan)  # of a description whose file of times is missing or of an earlier version


class Description(NamedTuple):
    """A reply, and its share of the time that its batches took."""

    text: str
    tokens: int
    spent: Spent


@dataclass
class Descriptions:
    """Descriptions by question and image. ``made_by``: plain values that say how they are made.

    ``taken``: what the descriptions that were looked up took when they were written. A run that is spared this time
    still depends on it.
    """

    made_by: dict[str, Any] = field(default_factory=dict)
    taken: Spent = field(default_factory=Spent)
    _known: dict[str, Description] = field(default_factory=dict)
    _used: dict[str, Description] = field(default_factory=dict)

    def read(self, path: str | Path) -> int:
        """Take over a file's descriptions if they were made the same way; returns how many.

        Raises ``ValueError``, naming the file, if it is not a file of descriptions.
        """
        path = Path(path)
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
        try:
            rows = [json.loads(line) for line in lines]
            if rows[0]["made_by"] != self.made_by:
                return 0
            times = json.loads(times_of(path).read_text(encoding="utf-8")) if times_of(path).is_file() else {}
            spent = {asked: Spent(*pair) for asked, pair in times.items() if isinstance(pair, list)}
            found = {
                row["asked"]: Description(row["text"], row["tokens"], spent.get(row["asked"], _UNKNOWN))
                for row in rows[1:]
            }
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(
                f"{path} is not a file of descriptions ({error!r}); delete it and run the evaluation that makes it"
            ) from None
        self._known.update(found)
        return len(found)

    def write(self, path: str | Path) -> None:
        """Write the descriptions used, all or nothing. Times go into a second file: this one is reproducible."""
        used = dict(sorted(self._used.items()))
        with atomic_write(times_of(path)) as temporary:
            times = {asked: astuple(d.spent) for asked, d in used.items() if not math.isnan(d.spent.compute_seconds)}
            temporary.write_text(json.dumps(times) + "\n", encoding="utf-8")
        rows = [{"asked": asked, "text": d.text, "tokens": d.tokens} for asked, d in used.items()]
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in [{"made_by": self.made_by}, *rows]:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def of(self, reader: Reader, prompts: Sequence[Prompt]) -> list[Reply]:
        """The untuned model's reply to each prompt, looked up or written now."""
        names = [_name(prompt) for prompt in prompts]
        missing = {name: prompt for name, prompt in zip(names, prompts, strict=True) if name not in self._known}
        self._write_missing(reader, missing)
        used = {name: self._known[name] for name in names}
        spared = (d.spent for name, d in used.items() if name not in {**missing, **self._used})
        self.taken = sum(spared, start=self.taken)
        self._used |= used
        return [Reply(used[name].text, used[name].tokens) for name in names]

    def _write_missing(self, reader: Reader, missing: dict[str, Prompt]) -> None:
        if not missing:
            return
        watch = Stopwatch()
        with reader.untuned():
            replies = reader.replies(list(missing.values()), "description")
        share = watch.read() / len(missing)
        for name, reply in zip(missing, replies, strict=True):
            self._known[name] = Description(reply.text, reply.tokens, share)


def times_of(path: str | Path) -> Path:
    """The file, beside a file of descriptions, with the seconds and compute seconds that each of them took."""
    return Path(path).with_suffix(".seconds.json")


def _name(prompt: Prompt) -> str:
    """A hash of the text and of the pixels as shown."""
    pixels = content_key(prompt.source.open()) if prompt.source else ""
    return hashlib.blake2b(f"{pixels}\n{prompt.text}".encode(), digest_size=16).hexdigest()
