"""The clock of a training: scores on the development data, and when each was reached."""

import time
from typing import Any


class Recorder:
    """Records the scores on the development data and the time at which each was reached.

    `train_wall` and `train_cpu` are seconds of training alone: reading the corpus, batching and
    updating; evaluation and saving are left out. `total_wall` has everything.
    """

    def __init__(self) -> None:
        self.curve: list[dict[str, Any]] = []
        self.began = time.perf_counter()
        self.wall = self.cpu = 0.0
        self.since: tuple[float, float] | None = None

    def start(self) -> None:
        """Count from now on."""
        self.since = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Count no further, until the next start."""
        if self.since is not None:
            self.wall += time.perf_counter() - self.since[0]
            self.cpu += time.process_time() - self.since[1]
            self.since = None

    def add(self, *, step: int, epoch: int, score: float, scores: dict[str, float]) -> None:
        """Record an evaluation, and print it for those who watch."""
        point = {
            "step": step,
            "epoch": epoch,
            "train_wall": round(self.wall, 3),
            "train_cpu": round(self.cpu, 3),
            "total_wall": round(time.perf_counter() - self.began, 3),
            "score": score,
            "scores": scores,
        }
        self.curve.append(point)
        print(f"step {step}, dev {100 * score:.1f}, {point['train_wall']:.0f} s", flush=True)
