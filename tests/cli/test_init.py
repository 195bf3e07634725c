"""`birnn init`: what it writes trains, has the measured settings, and says how it was made."""

import io
import shlex
from collections import Counter

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, load_model_from_config

from spacy_birnn.cli.info import describe_config
from spacy_birnn.cli.init import COMPONENTS

SIZES = ("small", "base", "large")
LABELLED = "birnn_tagger,birnn_morphologizer,birnn_ner"
EVERY = f"{LABELLED},birnn_lemmatizer,birnn_textcat"


@pytest.fixture
def corpus(nlp, make_examples, tmp_path):
    path = tmp_path / "corpus.spacy"
    DocBin(docs=[eg.reference for eg in make_examples(nlp)]).to_disk(path)
    return str(path)


@pytest.fixture
def init(invoke, tmp_path):
    """Write a config, and return where it is."""

    def call(*args):
        path = tmp_path / "config.cfg"
        result = invoke("init", path, *args, "--force")
        assert result.exit_code == 0 and result.stdout == "", result.stderr
        return path

    return call


@pytest.mark.filterwarnings("ignore::UserWarning")  # the calibration is of three sentences
@pytest.mark.parametrize(
    "pipeline, size",
    [*((name, "base") for name in COMPONENTS), (LABELLED, "base"), (EVERY, "small")]
    + [("birnn_textcat", "large"), ("birnn_ner", "large")],
)
def test_what_it_writes_trains_as_it_is(init, corpus, tmp_path, pipeline, size):
    path = init("--lang", "xx", "--pipeline", pipeline, "--size", size)
    steps = {"training.max_steps": 1, "training.eval_frequency": 1}
    overrides = {"paths.train": corpus, "paths.dev": corpus, **steps}
    nlp = init_nlp(load_config(path, overrides=overrides))
    output = tmp_path / "training"
    output.mkdir()
    train(nlp, output, stdout=io.StringIO(), stderr=io.StringIO())
    names = pipeline.split(",")
    found = spacy.load(output / "model-best")
    # One reading for those that label tokens, if there are several
    shared = ["tok2vec"] if len(names) > 1 else []
    assert found.pipe_names == shared + names
    assert found("They sell bread").text


@pytest.mark.parametrize("pipeline", [EVERY, "birnn_tagger,birnn_morphologizer"])
def test_each_part_is_larger_in_a_larger_size(init, pipeline):
    parts = []
    for size in SIZES:
        sizes = Counter()
        path = init("--lang", "xx", "--pipeline", pipeline, "--size", size)
        for layer in describe_config(path)["layers"]:
            # Those that depend on the labels are the same: None
            sizes[layer["component"]] += layer["bytes"] or 0
        parts.append(sizes)
    small, base, large = parts
    for name in {*small} & {"tok2vec", "birnn_textcat", "birnn_lemmatizer"}:
        assert small[name] < base[name] < large[name]


@pytest.mark.parametrize("name", ["birnn_ner", "birnn_textcat", "birnn_textcat_multilabel"])
def test_the_base_is_what_the_factory_makes(init, name):
    model = load_config(init("--pipeline", name))["components"][name]["model"]
    nlp = spacy.blank("en")
    nlp.add_pipe(name)
    assert model == nlp.config["components"][name]["model"]


def test_every_setting_is_there(init):
    """Nothing is left for `spacy init fill-config` to fill in."""
    config = load_config(init("--pipeline", EVERY))
    assert load_model_from_config(config.copy(), auto_fill=True).config == config


def test_the_first_line_makes_it_again(init, invoke, tmp_path, monkeypatch):
    vectors = "my vectors"
    args = ("--vectors", vectors, "--pretraining", "--training.max_steps", 7)
    path = init("--pipeline", "birnn_ner, birnn_tagger", "--lang", "de", "--size", "small", *args)
    text = path.read_text()
    command = shlex.split(text.splitlines()[0])
    assert command[:6] == ["#", "python", "-m", "spacy", "birnn", "init"]
    path.unlink()
    assert invoke("init", *command[6:]).exit_code == 0
    assert path.read_text() == text
    config = load_config(path)
    assert config["paths"]["vectors"] == vectors and config["training"]["max_steps"] == 7
    assert config["nlp"]["lang"] == "de"
    assert config["pretraining"]["component"] == "tok2vec"


def test_comments_are_above_their_settings_and_not_above_others(init):
    def above(*args):
        lines = init("--pipeline", "birnn_ner", *args).read_text().splitlines()
        commented = [i for i, line in enumerate(lines) if line.startswith("#")]
        return {lines[i + 1]: lines[i] for i in commented[1:] if not lines[i + 1].startswith("#")}

    found = above()
    assert "small batches first" in found["[training.batcher.size]"]
    assert "steps" in found["patience = 1600"]
    changed = above("--training.batcher.size", 400, "--training.patience", 100)
    assert found.items() - changed.items() == {
        (line, found[line]) for line in ("[training.batcher.size]", "patience = 1600")
    }
    assert changed.items() <= found.items()


def test_standard_output(invoke, init):
    result = invoke("init", "-", "--pipeline", "birnn_tagger")
    assert result.exit_code == 0 and result.stderr == ""
    written = init("--pipeline", "birnn_tagger").read_text().splitlines()
    assert result.stdout.splitlines()[1:] == written[1:]


def test_a_lemmatizer_alone_is_not_calibrated(init):
    """The callback would end the training: it has nothing that can be fitted."""
    assert load_config(init("--pipeline", "birnn_lemmatizer"))["training"]["before_to_disk"] is None
    both = load_config(init("--pipeline", "birnn_lemmatizer,birnn_ner"))
    assert both["training"]["before_to_disk"]["@callbacks"] == "spacy-birnn.Calibrate.v1"


def test_what_is_there_is_kept(invoke, tmp_path):
    path = tmp_path / "config.cfg"
    path.write_text("mine")
    result = invoke("init", path)
    assert result.exit_code == 1 and "--force" in result.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "args, exit_code, said",
    [
        (("--pipeline", "birnn_ner,ner"), 2, "not: ner"),
        (("--pipeline", "birnn_ner,birnn_ner"), 2, "at most once"),
        (("--pipeline", ""), 2, "none"),
        (("--size", "huge"), 2, "small"),
        (("--pipeline", "birnn_lemmatizer", "--pretraining"), 2, "no tok2vec"),
        (("--lang", "qq"), 1, "qq"),
        (("--training.max_stepz", 7), 1, "training.max_stepz"),
        (("--training.dropout", "much"), 1, "dropout"),
        (("--components.birnn_ner.model.tok2vec.width", 7), 1, "BIRNN-E003"),
    ],
)
def test_bad_input(invoke, tmp_path, args, exit_code, said):
    path = tmp_path / "config.cfg"
    result = invoke("init", path, *args)
    assert result.exit_code == exit_code
    assert said in " ".join(result.stderr.split()) and result.stdout == ""
    assert list(tmp_path.iterdir()) == []
