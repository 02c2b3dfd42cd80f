"""Features on disk, keyed by content: a photograph or a sentence is encoded once, whatever it is called and wherever.

One file per encoder, ``<name>-<identity>.npz`` with ``keys`` (SHA-256) and ``rows`` (float16). Photographs stream: a
batch is opened, encoded and let go. Rows are saved every now and then, so that an interrupted run goes on from there.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.images import open_image
from helpers.paths import atomic_write, file_name
from helpers.photographs.encoders import Encoder, torch_threads
from helpers.workflow.progress import Ticker
from helpers.workflow.provenance import sha256

_SAVE_EVERY = 1024


class FeatureStore:
    """The features of one encoder in ``folder``."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.encoder = encoder
        identity = hashlib.sha256(encoder.identity.encode()).hexdigest()[:12]
        self.path = folder / f"{file_name(encoder.name.replace('/', '-'))}-{identity}.npz"
        self.rows: dict[str, np.ndarray] = {}
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                self.rows = dict(zip(stored["keys"].tolist(), stored["rows"], strict=True))
        except Exception as error:  # zipfile, numpy and zlib each have their own
            raise ValueError(
                f"{self.path}: not readable ({type(error).__name__}: {error}); delete it, and it is made again"
            ) from error

    def images(self, files: Sequence[Path]) -> np.ndarray:
        """photographs x width, float32, in the order given. Raises as `helpers.images.open_image` does."""
        keys = [sha256(file) for file in files]
        return self._found(keys, files, lambda file: self.encoder.prepare(open_image(file)), "photograph")

    def sentences(self, sentences: Sequence[str]) -> np.ndarray:
        """sentences x width, float32, in the order given."""
        keys = [hashlib.sha256(sentence.encode()).hexdigest() for sentence in sentences]
        return self._found(keys, sentences, str, "sentence")

    def _found(self, keys: list[str], items: Sequence[Any], opened: Callable[[Any], Any], what: str) -> np.ndarray:
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in self.rows}
        ticker, done, saved = Ticker(what, len(missing)), 0, 0
        waiting = list(missing.items())
        for start in range(0, len(waiting), self.encoder.batch_size):
            some = waiting[start : start + self.encoder.batch_size]
            given = [opened(item) for _, item in some]
            with torch_threads(os.cpu_count() or 1):
                rows = self.encoder.encode(given).astype(np.float16)
            self.rows |= zip((key for key, _ in some), rows, strict=True)
            done += len(some)
            ticker.tick(done)
            if done - saved >= _SAVE_EVERY:
                self._write()
                saved = done
        if done > saved:
            self._write()
        return np.array([self.rows[key] for key in keys], dtype=np.float32)

    def _write(self) -> None:
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=np.array(list(self.rows)), rows=np.stack(list(self.rows.values())))
