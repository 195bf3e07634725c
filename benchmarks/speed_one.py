"""One measurement of speed.py, in a process of its own: load, answer, read.

Whatever is imported here counts as time to the first answer, so what only some need is imported
where it is used. It also runs in environments without spaCy, for peers.py.

python speed_one.py '{"started": ..., "variant": ..., ...}'
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Job = dict[str, Any]
SOAK_POINTS = 100
# Texts of a soak that share a memory zone, as a service would have it
ZONE_TEXTS = 2000


class SpacyReader:
    """A pipeline, or its tokenizer alone."""

    def __init__(self, path: Path, *, variant: str) -> None:
        import spacy

        self.nlp = spacy.load(path)
        if variant == "spacy numpy":
            use_numpy(self.nlp)
        self.reader: Any = self.nlp.tokenizer if variant == "tokenizer" else self.nlp

    def many(self, texts: Sequence[str]) -> int:
        return sum(len(doc) for doc in self.reader.pipe(texts))

    def one(self, text: str) -> int:
        return len(self.reader(text))


def use_numpy(nlp: Any) -> None:
    """Let NumPy make the matrix products of a pipeline of spaCy's."""
    from thinc.api import NumpyOps

    for _, pipe in nlp.pipeline:
        for node in pipe.model.walk() if hasattr(pipe, "model") else ():
            node.ops = NumpyOps(use_blis=False)


def memory() -> tuple[float, float]:
    """The memory of this process in MB: resident now, and at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf8")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    now, peak = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def texts_of(job: Job, name: str) -> Any:
    return json.loads(Path(job[name]).read_text(encoding="utf8"))


def read_twice(read: Callable[[Any], int], job: Job) -> dict[str, float]:
    """Words a second, and words a second of CPU time, of new text, and of the same again."""
    read(texts_of(job, "warm_up"))
    texts = texts_of(job, "texts")
    speeds = {}
    for name in ("first", "again"):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        words = read(texts)
        speeds[name] = words / (time.perf_counter() - wall)
        speeds[f"{name}_cpu"] = words / (time.process_time() - cpu)
    return speeds


def read_many(reader: Any, job: Job) -> dict[str, float]:
    return read_twice(reader.many, job)


def read_singly(reader: Any, job: Job) -> dict[str, float]:
    return read_twice(lambda texts: sum(map(reader.one, texts)), job)


def read_document(reader: Any, job: Job) -> dict[str, float]:
    """Seconds for one long document."""
    text = texts_of(job, "document")
    began = time.perf_counter()
    words = reader.one(text)
    return {"seconds": time.perf_counter() - began, "words": words}


def stream(texts: Sequence[str]) -> Iterator[str]:
    """The texts again and again, each time with one word that was never there before, as new text
    always has some."""
    n = 0
    while True:
        for text in texts:
            n += 1
            yield f"{text} w{n}"


def soak(reader: Any, job: Job) -> dict[str, Any]:
    """Read a number of words and write down the memory from time to time: (words, seconds, MB)."""
    texts, total = stream(texts_of(job, "texts")), job["words"]
    points: list[tuple[int, float, float]] = []
    words, began = 0, time.perf_counter()
    while words < total:
        zone = [next(texts) for _ in range(ZONE_TEXTS)]
        with reader.nlp.memory_zone():
            words += reader.many(zone)
        if words >= total * len(points) / SOAK_POINTS:
            points.append((words, time.perf_counter() - began, memory()[0]))
            print(f"{words:,} words", flush=True)
    return {"points": points}


WAYS: dict[str, Callable[[Any, Job], dict[str, Any]]] = {
    "nlp.pipe": read_many,
    "nlp(text)": read_singly,
    "document": read_document,
    "soak": soak,
}


def load(job: Job) -> Any:
    path = Path(job["path"])
    if not job.get("peer"):
        return SpacyReader(path, variant=job["variant"])
    from peers import READERS

    return READERS[job["variant"]](path)


def main(job: Job) -> None:
    reader = load(job)
    reader.one(job["first"])
    found: dict[str, Any] = {"start": time.time() - job["started"], "loaded": memory()[0]}
    found |= WAYS[job["way"]](reader, job)
    found["read"], found["peak"] = memory()
    Path(job["out"]).write_text(json.dumps(found), encoding="utf8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
