"""spaCy's own training loop and commands, run on a config as a user writes it."""

import io
import json

import numpy as np
import pytest
import spacy
from spacy.cli._util import app
from spacy.cli.find_threshold import find_threshold
from spacy.language import DEFAULT_CONFIG
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Config
from typer.testing import CliRunner

from spacy_birnn.pipeline.calibration import calibrate

COMPONENTS = ["birnn_tagger", "birnn_morphologizer", "birnn_ner"]


@pytest.fixture
def corpus(nlp, make_examples, tmp_path):
    path = tmp_path / "corpus.spacy"
    DocBin(docs=[eg.y for eg in make_examples(nlp)]).to_disk(path)
    return path


@pytest.fixture
def make_config(corpus, tiny_tok2vec):
    """A config for a few steps, all else by default. With each component the place of the pipeline
    that it is sourced from, or None for a new one."""

    def make(components, use_averages=False, **training):
        optimizer = {"@optimizers": "Adam.v1", "learn_rate": 0.02, "use_averages": use_averages}
        reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}
        config = Config(
            {
                "nlp": {"lang": "xx", "pipeline": list(components)},
                "components": {
                    name: {"source": str(source)}
                    if source
                    else {"factory": name, "model": {"tok2vec": tiny_tok2vec}}
                    for name, source in components.items()
                },
                "corpora": {"train": reader, "dev": reader},
                "training": {
                    "max_steps": 4,
                    "eval_frequency": 2,
                    "optimizer": optimizer,
                    **training,
                },
            }
        )
        return DEFAULT_CONFIG.merge(config)

    return make


def run(config, output):
    """Train, and give the pipeline in memory, which has the weights of the last step."""
    output.mkdir(exist_ok=True)
    nlp, _ = train(init_nlp(config), output, stdout=io.StringIO(), stderr=io.StringIO())
    return nlp


def test_training_saves_a_pipeline_that_works(make_config, tmp_path):
    run(make_config(dict.fromkeys(COMPONENTS), max_steps=60, eval_frequency=20), tmp_path / "out")
    nlp = spacy.load(tmp_path / "out" / "model-best")
    doc = nlp("Anna Berg flew from Oslo to New York .")
    assert [ent.text for ent in doc.ents] == ["Anna Berg", "Oslo", "New York"]
    assert (doc[2].tag_, doc[2].pos_, str(doc[2].morph)) == ("VBD", "VERB", "Tense=Past")
    assert nlp.meta["performance"]["ents_f"] == nlp.meta["performance"]["tag_acc"] == 1.0
    assert nlp.meta["labels"]["birnn_ner"] == ["GPE", "ORG", "PERSON"]


def test_frozen_and_sourced_components_stay(make_config, tmp_path, weights, same, unmoved):
    run(make_config(dict.fromkeys(["birnn_tagger", "birnn_morphologizer"])), tmp_path / "first")
    source = tmp_path / "first" / "model-last"
    first = spacy.load(source)
    components = {"birnn_tagger": source, "birnn_morphologizer": source, "birnn_ner": None}
    run(make_config(components, frozen_components=["birnn_tagger"]), tmp_path / "second")
    second = spacy.load(tmp_path / "second" / "model-last")
    for name, moves in (("birnn_tagger", False), ("birnn_morphologizer", True)):
        before, after = (weights(nlp.get_pipe(name).model) for nlp in (first, second))
        assert unmoved(before, after) == [] if moves else same(before, after)
    doc = second("They sell bread")
    assert [token.tag_ for token in doc] == [token.tag_ for token in first("They sell bread")]
    assert doc.has_annotation("ENT_IOB")


@pytest.mark.parametrize("use_averages", [True, False])
def test_averages_are_what_is_saved(make_config, tmp_path, weights, unmoved, use_averages):
    nlp = run(make_config({"birnn_tagger": None}, use_averages), tmp_path)
    saved = spacy.load(tmp_path / "model-last")
    last, averaged = (weights(pipeline.get_pipe("birnn_tagger").model) for pipeline in (nlp, saved))
    if use_averages:
        assert unmoved(last, averaged) == []
    else:
        assert len(unmoved(last, averaged)) > 10


def test_dropout_of_the_training_section_is_used(make_config, tmp_path, weights, same):
    """With the same seed two runs are alike if their dropout is, and differ if it is not."""
    runs = [
        run(make_config({"birnn_ner": None}, dropout=dropout), tmp_path / str(i))
        for i, dropout in enumerate([0.0, 0.5, 0.5])
    ]
    none, half, again = (weights(nlp.get_pipe("birnn_ner").model) for nlp in runs)
    assert same(half, again)
    encoder = [key for key in none if "birnn_encoder" in key]
    assert encoder and all(not np.array_equal(none[key], half[key]) for key in encoder)


@pytest.mark.filterwarnings("ignore:.*BIRNN-W00[67]")  # few documents, those of the training data
@pytest.mark.parametrize("use_averages", [True, False])
def test_what_is_saved_is_calibrated_and_training_goes_on(
    make_config, tmp_path, weights, same, use_averages
):
    components = dict.fromkeys(["birnn_tagger", "birnn_ner"])
    callback = {"@callbacks": "spacy-birnn.Calibrate.v1", "corpus": "${corpora.dev}"}
    runs = {}
    for name, before_to_disk in (("plain", None), ("calibrated", callback)):
        config = make_config(
            components, use_averages, max_steps=20, eval_frequency=10, before_to_disk=before_to_disk
        )
        run(config, tmp_path / name)
        runs[name] = spacy.load(tmp_path / name / "model-best")
    for component in components:
        plain, found = (runs[name].get_pipe(component) for name in ("plain", "calibrated"))
        assert same(weights(plain.model), weights(found.model))
        assert plain.cfg == {**found.cfg, **found.unfitted} != found.cfg
    # Evaluations during training compare what is not calibrated
    scores = [runs[name].meta["performance"]["ents_f"] for name in runs]
    assert scores[0] == scores[1]
    # It is fitted to the weights that are saved
    saved = {name: dict(runs["calibrated"].get_pipe(name).cfg) for name in components}
    corpus = Corpus(make_config(components)["corpora"]["dev"]["path"])
    calibrate(runs["calibrated"], corpus(runs["calibrated"]))
    for name, cfg in saved.items():
        now = runs["calibrated"].get_pipe(name).cfg
        assert now["temperature"] == pytest.approx(cfg["temperature"], rel=1e-3)


@pytest.fixture
def spacy_cli():
    def call(*args):
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_init_labels_and_training_with_them(spacy_cli, make_config, tmp_path):
    config = make_config(dict.fromkeys(COMPONENTS))
    config.to_disk(tmp_path / "config.cfg")
    spacy_cli("init", "labels", tmp_path / "config.cfg", tmp_path / "labels")
    labels = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "labels").iterdir()}
    assert labels["birnn_ner"] == ["GPE", "ORG", "PERSON"]
    assert "NNP" in labels["birnn_tagger"]
    assert "Tense=Past|POS=VERB" in labels["birnn_morphologizer"]["morph"] or (
        "POS=VERB|Tense=Past" in labels["birnn_morphologizer"]["morph"]
    )
    config["initialize"] = {
        "components": {
            name: {"labels": {"@readers": "spacy.read_labels.v1", "path": str(path)}}
            for name, path in ((name, tmp_path / "labels" / f"{name}.json") for name in COMPONENTS)
        }
    }
    nlp = run(config, tmp_path / "out")
    assert list(nlp.get_pipe("birnn_ner").labels) == labels["birnn_ner"]
    assert list(nlp.get_pipe("birnn_tagger").labels) == labels["birnn_tagger"]


def test_fill_config_states_every_default(spacy_cli, tmp_path):
    components = {name: {"factory": name} for name in COMPONENTS}
    base = Config({"nlp": {"lang": "xx", "pipeline": COMPONENTS}, "components": components})
    base.to_disk(tmp_path / "base.cfg")
    spacy_cli("init", "fill-config", tmp_path / "base.cfg", tmp_path / "config.cfg")
    filled = load_config(tmp_path / "config.cfg")["components"]
    for name in COMPONENTS:
        model = filled[name]["model"]
        assert model["@architectures"] == "spacy-birnn.SequenceTagger.v1"
        assert {"output", "tok2vec"} <= model.keys() and {"cell", "depth"} <= model[
            "tok2vec"
        ].keys()
    assert {"scheme", "confidence", "threshold"} <= filled["birnn_ner"].keys()
    assert {"overwrite", "neg_prefix", "label_smoothing"} <= filled["birnn_tagger"].keys()
    assert {"overwrite", "extend"} <= filled["birnn_morphologizer"].keys()


def test_debug_data_reads_the_config_and_the_corpus(spacy_cli, make_config, nlp, corpus, tmp_path):
    make_config(dict.fromkeys(COMPONENTS)).to_disk(tmp_path / "config.cfg")
    few = list(DocBin().from_disk(corpus).get_docs(nlp.vocab))
    DocBin(docs=few * 40).to_disk(corpus)  # it refuses fewer than 100 examples
    output = spacy_cli("debug", "data", tmp_path / "config.cfg")
    assert "Pipeline can be initialized with data" in output
    assert all(name in output for name in COMPONENTS)


def test_evaluate_and_apply(spacy_cli, make_config, corpus, tmp_path):
    run(make_config(dict.fromkeys(COMPONENTS)), tmp_path / "out")
    model = tmp_path / "out" / "model-last"
    spacy_cli("evaluate", model, corpus, "--output", tmp_path / "metrics.json")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"tag_acc", "pos_acc", "morph_acc", "ents_f"} <= metrics.keys()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("They sell bread to Anna")
    spacy_cli("apply", model, tmp_path / "texts", tmp_path / "out.spacy")
    (doc,) = DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.load(model).vocab)
    assert isinstance(doc, Doc) and doc.has_annotation("TAG")


def test_find_threshold_tries_them_from_zero_to_one(make_config, corpus, tmp_path):
    run(make_config({"birnn_ner": None}, max_steps=60, eval_frequency=20), tmp_path)
    best = tmp_path / "model-best"
    _, _, scores = find_threshold(best, corpus, "birnn_ner", "threshold", "ents_f", n_trials=3)
    assert list(scores) == [0.0, 0.5, 1.0]
    # Nothing is as probable as 1
    assert scores[0.5] > scores[1.0] == 0
