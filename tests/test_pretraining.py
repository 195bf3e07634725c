"""`spacy pretrain` on a few texts, and training that begins with its weights."""

import io

import numpy as np
import pytest
import srsly
from spacy.cli._util import app
from spacy.language import DEFAULT_CONFIG, DEFAULT_CONFIG_PRETRAIN_PATH
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.training.pretrain import pretrain
from spacy.util import load_config, load_model_from_config
from spacy.vectors import Vectors
from thinc.api import Config
from typer.testing import CliRunner

from spacy_birnn.models.features import word_id

TEXTS = ["Anna Berg flew from Oslo to New York .", "They sell bread to Acme Foods Ltd .", "Bread !"]
SHARED, OWN = ("tok2vec", ""), ("birnn_ner", "tok2vec")
BILM = {"@architectures": "spacy-birnn.PretrainBiLM.v1", "rows": 50}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    srsly.write_jsonl(path, [{"text": text} for text in TEXTS])
    return path


@pytest.fixture
def make_config(nlp, make_examples, tmp_path, texts, tiny_tok2vec):
    """A config to pretrain the tok2vec of birnn_ner, its own or a shared one, and to train."""
    corpus = tmp_path / "corpus.spacy"
    DocBin(docs=[eg.y for eg in make_examples(nlp)]).to_disk(corpus)
    reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}

    def make(layer, objective=BILM, word_dropout=0.0, **pretraining):
        tok2vec = {**tiny_tok2vec, "word_dropout": word_dropout}
        shared = {"tok2vec": {"factory": "tok2vec", "model": tok2vec}} if layer == SHARED else {}
        ner = {"factory": "birnn_ner", "model": {"tok2vec": LISTENER if shared else tok2vec}}
        config = Config(
            {
                "nlp": {"lang": "xx", "pipeline": [*shared, "birnn_ner"]},
                "components": {**shared, "birnn_ner": ner},
                "corpora": {"train": reader, "dev": reader},
                "training": {"max_steps": 4, "eval_frequency": 2},
                "paths": {"raw_text": str(texts)},
            }
        )
        config = load_config(DEFAULT_CONFIG_PRETRAIN_PATH).merge(DEFAULT_CONFIG.merge(config))
        config["corpora"]["pretrain"]["min_length"] = 0
        config["pretraining"] |= {"component": layer[0], "layer": layer[1], "max_epochs": 2}
        config["pretraining"] |= {"objective": objective, **pretraining}
        # With every default filled in, as `spacy pretrain` expects
        return load_model_from_config(config, auto_fill=True).config

    return make


def run(config, output, **kwargs):
    output.mkdir(exist_ok=True)
    pretrain(config.copy().interpolate(), output, **kwargs)
    return output


def initialized(config, weights=None):
    config = config.copy()
    config["initialize"]["init_tok2vec"] = None if weights is None else str(weights)
    return init_nlp(config)


def pretrained_layer(nlp, layer):
    model = nlp.get_pipe(layer[0]).model
    return model.get_ref(layer[1]) if layer[1] else model


@pytest.mark.parametrize("layer", [OWN, SHARED], ids=["own", "shared"])
def test_training_begins_with_the_pretrained_weights(
    make_config, tmp_path, weights, unmoved, layer
):
    config = make_config(layer, word_dropout=0.2)
    saved = run(config, tmp_path / "pre") / "model-last.bin"
    fresh, loaded = initialized(config), initialized(config, saved)
    assert pretrained_layer(loaded, layer).to_bytes() == saved.read_bytes()
    before, after = (weights(pretrained_layer(nlp, layer)) for nlp in (fresh, loaded))
    assert unmoved(before, after) == []
    # The words of pretraining count as known
    (keys,) = (value for key, value in after.items() if key[-1] == "keys")
    assert set(keys.tolist()) == {word_id(word) for text in TEXTS for word in text.split()}
    # And what was loaded is what is trained and used
    out = tmp_path / "out"
    out.mkdir()
    trained, _ = train(loaded, out, stdout=io.StringIO(), stderr=io.StringIO())
    assert unmoved(after, weights(pretrained_layer(trained, layer))) == []
    docs = [loaded.make_doc(text) for text in TEXTS]
    vectors = [pretrained_layer(nlp, layer).predict(docs)[0] for nlp in (fresh, loaded)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_an_interrupted_pretraining_is_resumed(make_config, tmp_path, weights):
    still = {"@optimizers": "Adam.v1", "learn_rate": 0.0, "L2": 0.0}
    first = run(make_config(OWN, max_epochs=1), tmp_path / "first") / "model0.bin"
    config = make_config(OWN, max_epochs=16, n_save_epoch=15, optimizer=still)
    resumed = run(config, tmp_path / "second", resume_path=first)
    # It counts on from there, and without learning the weights stay what they were. (Thinc's
    # averages begin at 0, so it takes some steps until they are those of the weights.)
    assert {path.name for path in resumed.glob("*.bin")} == {"model15.bin", "model-last.bin"}
    moved = run(make_config(OWN, max_epochs=2), tmp_path / "third", resume_path=first)
    start, end, other = (
        weights(pretrained_layer(initialized(config, path), OWN))
        for path in (first, resumed / "model15.bin", moved / "model1.bin")
    )
    assert all(np.allclose(start[key], end[key], atol=1e-4) for key in start)
    assert not all(np.allclose(start[key], other[key], atol=1e-4) for key in start)


@pytest.mark.parametrize("setting", [{"width": 18}, {"cell": "gru"}, {"char_width": None}], ids=str)
def test_weights_that_do_not_fit_are_refused(make_config, tmp_path, setting):
    config = make_config(OWN)
    saved = run(config, tmp_path / "pre") / "model-last.bin"
    config["components"]["birnn_ner"]["model"]["tok2vec"] |= setting
    with pytest.raises(ValueError):
        initialized(config, saved)


OBJECTIVES = {
    "words": BILM,
    "characters": {**BILM, "target": "characters"},
    "PretrainCharacters": {
        "@architectures": "spacy.PretrainCharacters.v1",
        "maxout_pieces": 2,
        "hidden_size": 16,
        "n_characters": 4,
    },
    "PretrainVectors": {
        "@architectures": "spacy.PretrainVectors.v1",
        "maxout_pieces": 2,
        "hidden_size": 16,
        "loss": "cosine",
    },
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_falls(make_config, nlp, tmp_path, name):
    """Also with spaCy's own objectives, which hide words from the tok2vec."""
    adam = {"@optimizers": "Adam.v1", "learn_rate": 0.01}
    config = make_config(OWN, OBJECTIVES[name], max_epochs=30, optimizer=adam, n_save_epoch=30)
    words = sorted({word for text in TEXTS for word in text.split()})
    data = np.random.normal(size=(len(words), 5)).astype("f")
    nlp.vocab.vectors = Vectors(data=data, keys=words, strings=nlp.vocab.strings)
    nlp.to_disk(tmp_path / "vectors")
    config["initialize"]["vectors"] = str(tmp_path / "vectors")
    output = run(config, tmp_path / "pre")
    losses = [line["epoch_loss"] for line in srsly.read_jsonl(output / "log.jsonl")]
    assert 0 < losses[-2] < 0.97 * losses[0]
    loaded = initialized(config, output / "model-last.bin")
    saved = (output / "model-last.bin").read_bytes()
    assert pretrained_layer(loaded, OWN).to_bytes() == saved


def test_the_command_line_with_odd_texts(make_config, tmp_path, texts):
    """Empty texts, one word, white space, and a line of 1 MB, longer than the reader's limit."""
    odd = ["", " ", "\n\n", "Bread", "word " * 200_000, "\U0001f600 a\u0301"]
    srsly.write_jsonl(texts, [{"text": text} for text in [*TEXTS, *odd]])
    make_config(OWN).to_disk(tmp_path / "config.cfg")
    args = ["pretrain", str(tmp_path / "config.cfg"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    log = list(srsly.read_jsonl(tmp_path / "out" / "log.jsonl"))
    assert all(np.isfinite(line["loss"]) for line in log)
    # 9 + 8 + 2 words of the sentences, and 0 + 1 + 1 + 1 + 2 of the odd texts, twice
    assert log[-1]["nr_word"] == 2 * (9 + 8 + 2 + 5)


@pytest.mark.parametrize("odd", [["Bread", "butter"], ["", " "]])
def test_texts_that_there_is_nothing_to_learn_from_are_reported(make_config, tmp_path, texts, odd):
    srsly.write_jsonl(texts, [{"text": text} for text in odd])
    with pytest.warns(UserWarning, match="BIRNN-W005.*2 texts.*min_length"):
        run(make_config(OWN), tmp_path / "pre")


def test_a_text_that_is_too_long_for_spacy_is_refused(make_config, tmp_path, texts):
    srsly.write_jsonl(texts, [{"text": text} for text in [*TEXTS, "word " * 200_001]])
    with pytest.raises(ValueError, match="E088.*1000005.*nlp.max_length"):
        run(make_config(OWN), tmp_path / "pre")


def test_a_tok2vec_that_would_see_its_target_is_refused(make_config, tmp_path):
    config = make_config(OWN)
    config["components"]["birnn_ner"]["model"]["tok2vec"]["depth"] = 2
    with pytest.raises(ValueError, match="BIRNN-E052"):
        run(config, tmp_path / "pre")
