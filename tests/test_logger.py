"""`spacy-birnn.PlotLogger.v1`: the table, the page, and what happens if that can't be written."""

import io
import json
import re
import warnings

import pytest
from spacy.language import DEFAULT_CONFIG
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from thinc.api import Config

from spacy_birnn.logger import create_plot_logger

PIPES = ("birnn_tagger", "birnn_morphologizer")
REFRESHES = '<meta http-equiv="refresh"'


@pytest.fixture
def config(nlp, make_examples, tiny_tok2vec, tmp_path):
    """Six steps of training."""
    path = tmp_path / "corpus.spacy"
    DocBin(docs=[eg.y for eg in make_examples(nlp)]).to_disk(path)
    reader = {"@readers": "spacy.Corpus.v1", "path": str(path)}
    model = {"tok2vec": tiny_tok2vec}
    schedule = {"@schedules": "decaying.v1", "base_rate": 0.02, "decay": 1.0}
    return DEFAULT_CONFIG.merge(
        Config(
            {
                "nlp": {"lang": "xx", "pipeline": list(PIPES)},
                "components": {name: {"factory": name, "model": model} for name in PIPES},
                "corpora": {"train": reader, "dev": reader},
                "training": {
                    "max_steps": 6,
                    "eval_frequency": 2,
                    "optimizer": {"@optimizers": "Adam.v1", "learn_rate": schedule},
                    "logger": {"@loggers": "spacy-birnn.PlotLogger.v1"},
                },
            }
        )
    )


def run(config, output=None):
    """Train, and give what is printed."""
    if output is not None:
        output.mkdir()
    printed = io.StringIO()
    train(init_nlp(config), output, stdout=printed, stderr=printed)
    return printed.getvalue()


def info(step, score=0.5, epoch=0, loss=3.0):
    losses = dict.fromkeys(PIPES, loss)
    other = {"tag_acc": score, "pos_acc": score, "speed": 100.0, "morph_per_feat": None}
    scores = {"score": score, "other_scores": other}
    return {"step": step, "epoch": epoch, "words": 10 * step, "losses": losses, **scores}


def test_the_table_has_full_names_and_the_page_is_in_the_output_directory(config, tmp_path):
    printed = run(config, tmp_path / "out")
    assert "LOSS BIRNN_TAGGER  LOSS BIRNN_MORPHOLOGIZER" in printed
    page = (tmp_path / "out" / "training.html").read_text(encoding="utf8")
    assert "Finished" in page and REFRESHES not in page and "Time left" not in page
    for name in (*PIPES, "tag_acc", "pos_acc", "morph_acc"):
        assert name in page
    # A chart for score and learning rate each, and two for each component, of four evaluations
    assert page.count("<svg") == 2 + 2 * len(PIPES)
    rates = re.search(r"Learning rate </figcaption>.*?</svg>", page, re.DOTALL).group()
    assert re.findall(r"<title>(\S+) at (\d)", rates) == [
        ("0.02", "0"),
        ("0.006667", "2"),
        ("0.004", "4"),
        ("0.002857", "6"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model-best",
        "model-last",
        "training.html",
    ]


def test_without_an_output_directory_there_is_a_page_only_if_it_is_named(config, tmp_path):
    here = {path.name for path in tmp_path.iterdir()}
    run(config)
    assert {path.name for path in tmp_path.iterdir()} == here
    config["training"]["logger"]["path"] = str(tmp_path / "new" / "page.html")
    run(config)
    assert "Finished" in (tmp_path / "new" / "page.html").read_text(encoding="utf8")


def test_it_is_one_of_a_chain_of_loggers(config, tmp_path):
    config["training"]["logger"] = {
        "@loggers": "spacy.ChainLogger.v1",
        "logger1": {"@loggers": "spacy-birnn.PlotLogger.v1", "progress_bar": "eval"},
        "logger2": {
            "@loggers": "spacy.ConsoleLogger.v3",
            "console_output": False,
            "output_file": str(tmp_path / "log.jsonl"),
        },
    }
    printed = run(config, tmp_path / "out")
    assert printed.count("LOSS BIRNN_TAGGER") == 1
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert "Finished" in (tmp_path / "out" / "training.html").read_text(encoding="utf8")


def test_the_progress_bar_is_one_of_spacy(config):
    config["training"]["logger"]["progress_bar"] = "steps"
    with pytest.raises(ValueError, match="E1048"):
        run(config)


def test_a_page_that_cannot_be_written_does_not_end_training(config, tmp_path):
    (tmp_path / "file").write_text("x")
    config["training"]["logger"]["path"] = str(tmp_path / "file" / "page.html")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        printed = run(config, tmp_path / "out")
    assert "Saved pipeline" in printed
    (one,) = (w for w in caught if "BIRNN-W015" in str(w.message))
    assert str(tmp_path / "file" / "page.html") in str(one.message)


def test_the_page_of_a_training_that_runs_and_then_stops(config, tmp_path):
    """It says what is left by each of the limits, and the browser reads it again."""
    config["training"].update(max_steps=200, patience=60, max_epochs=5)
    path = tmp_path / "page.html"
    log_step, finalize = create_plot_logger(path)(init_nlp(config), io.StringIO(), io.StringIO())
    for step in range(101):
        log_step(info(step, 0.9 if step == 50 else 0.5, step // 40) if step % 50 == 0 else None)
    page = path.read_text(encoding="utf8")
    assert REFRESHES in page and "Running" in page and "Finished" not in page
    assert "100 of at most 200" in page and "90.00, at step 50" in page
    for limit in ("until max_steps", "until max_epochs", "does not rise (patience)"):
        assert limit in page
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        finally:
            finalize()
    page = path.read_text(encoding="utf8")
    assert "Stopped by KeyboardInterrupt" in page and REFRESHES not in page


def test_losses_are_for_a_step_and_odd_values_are_left_out(config, tmp_path):
    path = tmp_path / "page.html"
    log_step, finalize = create_plot_logger(path)(init_nlp(config), io.StringIO(), io.StringIO())
    for one in (info(0, loss=8.0), None, info(2, loss=6.0), None, info(4, loss=float("nan"))):
        log_step(one)
    finalize()
    losses = re.search(r"Loss per step.*?</svg>", path.read_text(encoding="utf8"), re.DOTALL)
    assert re.findall(r"<title>(\S+) at (\d)", losses.group()) == [("8", "0"), ("3", "2")]
