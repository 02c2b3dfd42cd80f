"""How many requests a second the network writer keeps up: replies in 200 ms, 16 requests under way at once.

    python benchmarks/bench_writer.py [--texts 800] [--output benchmarks/bench_writer.csv]

A server in a process of its own answers each request after the delay, so that at most concurrency / delay = 80 requests
a second are possible. Everything that a real run does is done: rate limits, budget, gates, cache. The second row has
every fifth reply fail, in turn by 429, 500 and a cut connection; the third is a rerun, which finds all in the cache.
"""

import argparse
import asyncio
import csv
import hashlib
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from helpers.config.writer import Writer
from helpers.domains.interface import Domain, Subject
from helpers.paths import atomic_write
from helpers.schemas import ClassText, Question
from helpers.workflow.provenance import hardware
from helpers.writer import endpoint
from helpers.writer.run import ModelWriter

DELAY_S, CONCURRENCY, GOAL = 0.2, 16, 50
LIMITS = {"requests_per_minute": 600_000, "tokens_per_minute": 600_000_000, "budget": 1000.0}


class Things(Domain):
    """A domain of so many classes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def table(self) -> list[dict[str, Any]]:
        return []

    def bring_images(self, folder: Path) -> None:
        pass

    def questions(self) -> list[Question]:
        return []

    def class_info(self) -> list[Subject]:
        return [Subject("things", f"t{i}", f"Zyx{i}", f"Zyx{i}") for i in range(self.count)]

    def offline_texts(self, wordings: int) -> list[ClassText]:
        return []


def serve(port: Connection, every: int) -> None:
    """Answer for ever; each ``every``-th request fails (0: none)."""
    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:  # the client has hung up
                break
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(fields[b"content-length"]))
            count += 1
            fails = every and count % every == 0
            kind = count // every % 3 if fails else None
            await asyncio.sleep(DELAY_S)
            if kind == 2:
                break
            status, content = (200, reply(body)) if kind is None else ((429, 500)[kind], b"{}")
            length = f"retry-after: 0.1\r\ncontent-length: {len(content)}"
            writer.write(f"HTTP/1.1 {status} x\r\n{length}\r\n\r\n".encode() + content)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def reply(body: bytes) -> bytes:
    """A completion that passes the gates; the number in the name makes the looks differ."""
    said = json.loads(body)["messages"][1]["content"]
    name = json.loads(said.split("<data>\n")[1].split("\n</data>")[0])["name"]
    digits = hashlib.sha256(name.encode()).hexdigest()
    marks = " and ".join(digits[i : i + 4] for i in range(0, 40, 4))
    appearance = f"This thing is round and brown, with a narrow rim, a smooth surface, and the marks {marks}."
    background = "It is found in the kitchens of old houses, where it serves for cooking, and it is rarely made today."
    message = {"role": "assistant", "content": json.dumps({"appearance": appearance, "background": background})}
    usage = {"prompt_tokens": 400, "completion_tokens": 100}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()


@contextmanager
def server(every: int) -> Iterator[str]:
    """The address of a server in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, every), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def measure(case: str, url: str, folder: Path, texts: int) -> dict[str, str | float | int]:
    """Write, and count seconds of wall and processor."""
    settings = Writer(backend="openai", base_url=url, cache_dir=str(folder), concurrency=CONCURRENCY, **LIMITS)
    writer = ModelWriter(settings, "things")
    begin, used = time.perf_counter(), time.process_time()
    found = writer.write(Things(texts), folder, 1)
    seconds, processor = time.perf_counter() - begin, time.process_time() - used
    if len(found.texts) != texts:
        raise RuntimeError(f"{case}: {len(found.texts)} of {texts} texts; the first failure: {found.failures[:1]}")
    return {
        "case": case,
        "texts": texts,
        "seconds": round(seconds, 2),
        "texts_per_second": round(texts / seconds, 1),
        "processor_ms_per_text": round(1000 * processor / texts, 2),
    }


def cases(texts: int) -> Iterator[dict[str, str | float | int]]:
    """All good; every fifth failing; a rerun."""
    with tempfile.TemporaryDirectory() as name:
        with server(every=0) as url:
            measure("warm-up", url, Path(name) / "warm", 32)
            yield measure("all replies good", url, Path(name) / "good", texts)
        with server(every=5) as url:
            yield measure("every fifth fails", url, Path(name) / "bad", texts)
        yield measure("rerun, all in the cache", "http://127.0.0.1:9/v1", Path(name) / "good", texts)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    endpoint.FIRST_PAUSE_S = 0.1
    packages = ", ".join(f"{name} {version(name)}" for name in ("httpx2", "tenacity", "aiolimiter"))
    about = {
        "delay_s": DELAY_S,
        "concurrency": CONCURRENCY,
        "goal_per_second": GOAL,
        "load": round(os.getloadavg()[0], 1),
        "hardware": hardware(),
        "versions": f"Python {platform.python_version()}, {packages}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    rows = [{**row, **about} for row in cases(given.texts)]
    for row in rows:
        print(*(f"{name}={row[name]}" for name in list(row)[:5]), sep="  ")
    with atomic_write(given.output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
