"""Train one pipeline and evaluate it: the part of a benchmark that runs in a process of its own."""

import math
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import spacy
import torch
import typer
from calibration import calibration
from common import write_json
from recorder import Recorder
from spacy import registry
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Token
from spacy.training import Corpus, Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

LOGGER = "spacy-birnn-benchmarks.Recorder.v1"


def watch(nlp: Language, recorder: Recorder) -> None:
    """Stop the clock where an evaluation begins; `train` calls the logger when it is over."""
    evaluate = nlp.evaluate

    def evaluate_unwatched(*args: Any, **kwargs: Any) -> dict[str, Any]:
        recorder.stop()
        return evaluate(*args, **kwargs)

    setattr(nlp, "evaluate", evaluate_unwatched)
    recorder.start()


def make_logger(recorder: Recorder) -> Callable:
    """What spaCy asks of a logger: from it a function for each step, and one for the end."""

    def log_step(info: dict[str, Any] | None) -> None:
        recorder.stop()
        if info is not None:
            scores = numbers(info["other_scores"])
            recorder.add(step=info["step"], epoch=info["epoch"], score=info["score"], scores=scores)
        recorder.start()

    return lambda nlp, stdout, stderr: (log_step, lambda: None)


def numbers(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are finite numbers, without those by label."""
    return {
        key: value
        for key, value in scores.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def scores_of(nlp: Language, examples: list[Example]) -> dict[str, float]:
    """spaCy's scores, and for a morphologizer also the share of tokens whose UPOS and FEATS are
    both right (upos_feats_acc), and what it would be if only the tokenizer erred (ceiling). What
    the pipeline finds is left in the examples."""
    scores = nlp.evaluate(examples)  # on copies
    for eg, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples), strict=True):
        eg.predicted = doc
    if scores.get("pos_acc") is not None:
        scores |= Scorer.score_token_attr(
            examples, "upos_feats", getter=_upos_feats, missing_values={None}
        )
        scores["ceiling"] = tokenization_ceiling(examples)
    return numbers(scores)


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


def unseen_accuracy(nlp: Language, train_path: Path, examples: Iterable[Example]) -> float:
    """Lemma accuracy on the tokens whose forms the training data does not have."""
    known = {t.text for eg in Corpus(train_path, gold_preproc=True)(nlp) for t in eg.reference}
    right = total = 0
    for eg in examples:
        for found, gold in zip(eg.predicted, eg.reference, strict=True):
            if gold.lemma and gold.text not in known:
                right += found.lemma == gold.lemma
                total += 1
    return right / max(1, total)


def main(
    config_path: Path,
    out: Path,
    test: Annotated[Path | None, typer.Option(help="The test part; none: it is not read")] = None,
    threads: int = 1,
) -> None:
    """Train with CONFIG_PATH, evaluate the best model, and write OUT/run.json."""
    torch.set_num_threads(threads)
    config = load_config(config_path, interpolate=False)
    config["training"]["logger"] = {"@loggers": LOGGER}
    paths = config.interpolate()["paths"]
    began = time.perf_counter()
    recorder = Recorder()
    registry.loggers(LOGGER, func=lambda: make_logger(recorder))
    nlp = init_nlp(config)
    result: dict[str, Any] = {"seconds": {"init": round(time.perf_counter() - began, 3)}}
    watch(nlp, recorder)
    train(nlp, out)
    # The best one is enough, and with vectors each is large
    shutil.rmtree(out / "model-last")
    nlp = spacy.load(out / "model-best")
    gold_tokens = config["corpora"]["dev"].get("gold_preproc", False)
    result["calibration"] = {}
    for part, path in {"dev": Path(paths["dev"]), "test": test}.items():
        if path is None:
            continue
        examples = list(Corpus(path, gold_preproc=gold_tokens)(nlp))
        result[part] = scores_of(nlp, examples)
        if "lemma_acc" in result[part]:
            unseen = unseen_accuracy(nlp, Path(paths["train"]), examples)
            result[part]["unseen_acc"] = unseen
        result["calibration"][part] = calibration(nlp, examples)
    result["seconds"]["train"] = round(recorder.wall, 3)
    write_json(out / "run.json", {**result, "curve": recorder.curve})


if __name__ == "__main__":
    typer.run(main)
