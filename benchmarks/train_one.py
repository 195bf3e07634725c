"""Train one pipeline and evaluate it: the part of accuracy.py that runs in a process of its own."""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import spacy
import torch
import typer
from common import write_json
from spacy import registry
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Token
from spacy.training import Corpus, Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

LOGGER = "spacy-birnn-benchmarks.Recorder.v1"


class Recorder:
    """Records the scores on the development data and the time at which each was reached.

    Time is counted from the call of `train` on. `train_wall` and `train_cpu` are seconds of
    training alone: reading the corpus, batching and updating; evaluation and saving are left out.
    `total_wall` has everything.
    """

    def __init__(self) -> None:
        self.curve: list[dict[str, Any]] = []
        self.began = 0.0
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

    def watch(self, nlp: Language) -> None:
        """Stop where an evaluation begins; `train` calls the logger when it is over."""
        evaluate = nlp.evaluate

        def evaluate_unwatched(*args: Any, **kwargs: Any) -> dict[str, Any]:
            self.stop()
            return evaluate(*args, **kwargs)

        setattr(nlp, "evaluate", evaluate_unwatched)
        self.began = time.perf_counter()
        self.start()

    def setup_logger(self, nlp: Language, stdout: Any, stderr: Any) -> tuple[Callable, Callable]:
        """What spaCy asks of a logger: a function for each step, and one for the end."""
        return self.log_step, lambda: None

    def log_step(self, info: dict[str, Any] | None) -> None:
        """Called after each step, with what is known of it if there was an evaluation."""
        self.stop()
        if info is not None:
            point = {
                "step": info["step"],
                "epoch": info["epoch"],
                "train_wall": round(self.wall, 3),
                "train_cpu": round(self.cpu, 3),
                "total_wall": round(time.perf_counter() - self.began, 3),
                "score": info["score"],
                "scores": numbers(info["other_scores"]),
            }
            self.curve.append(point)
            score, wall = point["score"], point["train_wall"]
            print(f"step {info['step']}, dev {100 * score:.1f}, {wall:.0f} s", flush=True)
        self.start()


def numbers(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are numbers, without those by label."""
    return {key: value for key, value in scores.items() if isinstance(value, (int, float))}


def evaluate_test(nlp: Language, examples: list[Example]) -> dict[str, float]:
    """spaCy's scores, and for a morphologizer also the share of tokens whose UPOS and FEATS are
    both right (upos_feats_acc), and what it would be if only the tokenizer erred (ceiling)."""
    scores = numbers(nlp.evaluate(examples))
    if scores.get("pos_acc") is not None:
        docs = nlp.pipe(eg.predicted for eg in examples)
        found = [Example(doc, eg.reference) for doc, eg in zip(docs, examples)]
        joint = Scorer.score_token_attr(
            found, "upos_feats", getter=_upos_feats, missing_values={None}
        )
        scores |= {**joint, "ceiling": tokenization_ceiling(found)}
    return {key: value for key, value in scores.items() if math.isfinite(value)}


def _upos_feats(token: Token, attr: str) -> tuple[str, str] | None:
    return (token.pos_, str(token.morph)) if token.pos_ else None


def tokenization_ceiling(examples: Iterable[Example]) -> float:
    """The accuracy, as spaCy's scorer counts it, of a pipe that is right wherever the tokens of the
    pipeline align with those of the annotation."""
    reached = total = 0
    for eg in examples:
        x2y = eg.alignment.x2y
        aligned = (i for i, token in enumerate(eg.predicted) if not token.is_space)
        reached += len({int(x2y[i][0]) for i in aligned if x2y.lengths[i] == 1})
        total += len(eg.reference)
    return 2 * reached / (reached + total)


def unseen_accuracy(nlp: Language, train_path: Path, test_path: Path) -> float:
    """Lemma accuracy on the tokens whose forms the training data does not have."""
    known = {t.text for eg in Corpus(train_path, gold_preproc=True)(nlp) for t in eg.reference}
    right = total = 0
    for eg in Corpus(test_path, gold_preproc=True)(nlp):
        for found, gold in zip(nlp(eg.predicted), eg.reference, strict=True):
            if gold.lemma and gold.text not in known:
                right += found.lemma == gold.lemma
                total += 1
    return right / max(1, total)


def main(config_path: Path, test_path: Path, out: Path, threads: int = 1) -> None:
    """Train with CONFIG_PATH, evaluate the best model on TEST_PATH, and write OUT/run.json."""
    torch.set_num_threads(threads)
    recorder = Recorder()
    registry.loggers(LOGGER, func=lambda: recorder.setup_logger)
    config = load_config(config_path, interpolate=False)
    config["training"]["logger"] = {"@loggers": LOGGER}
    began = time.perf_counter()
    nlp = init_nlp(config)
    init_seconds = time.perf_counter() - began
    recorder.watch(nlp)
    train(nlp, out)
    nlp = spacy.load(out / "model-best")
    gold_tokens = config["corpora"]["dev"].get("gold_preproc", False)
    test = evaluate_test(nlp, list(Corpus(test_path, gold_preproc=gold_tokens)(nlp)))
    if "lemma_acc" in test:
        train_path = config.interpolate()["corpora"]["train"]["path"]
        test["unseen_acc"] = unseen_accuracy(nlp, Path(train_path), test_path)
    seconds = {"init": round(init_seconds, 3), "train": round(recorder.wall, 3)}
    write_json(out / "run.json", {"test": test, "seconds": seconds, "curve": recorder.curve})


if __name__ == "__main__":
    typer.run(main)
