"""The architectures inside spaCy's own components."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vectors import Vectors
from thinc.api import Adam

from spacy_birnn.errors import BirnnError
from spacy_birnn.models.tok2vec import build_birnn_tok2vec

LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
CNN = {
    "@architectures": "spacy.MaxoutWindowEncoder.v2",
    "width": 16,
    "depth": 1,
    "window_size": 1,
    "maxout_pieces": 2,
}
HASHES = {
    "@architectures": "spacy.MultiHashEmbed.v2",
    "width": 16,
    "attrs": ["NORM", "SUFFIX"],
    "rows": [100, 100],
    "include_static_vectors": False,
}
WORD_CHAR = {
    "@architectures": "spacy-birnn.WordCharEmbed.v1",
    "width": 16,
    "rows": 100,
    "word_dropout": 0.0,
    "chars": {"@architectures": "spacy-birnn.CharRNN.v1", "width": 8},
}
SPACY_CHARS = {
    "@architectures": "spacy.CharacterEmbed.v2",
    "width": 8,
    "rows": 100,
    "nM": 8,
    "nC": 4,
    "include_static_vectors": False,
}
BIRNN = {"@architectures": "spacy-birnn.BiRNNEncoder.v1", "width": 16}
TOK2VECS = {
    "birnn-encoder": {"embed": HASHES, "encode": BIRNN},
    "word-char-embed": {"embed": WORD_CHAR, "encode": {**CNN, "width": 120}},
    "both": {"embed": WORD_CHAR, "encode": BIRNN},
    "without-chars": {"embed": {**WORD_CHAR, "chars": None}, "encode": BIRNN},
    "chars-of-spacy": {"embed": {**WORD_CHAR, "chars": SPACY_CHARS}, "encode": BIRNN},
    "birnn-tok2vec": None,
}
# With each component's name how to read what it sets
READ = {
    "ner": lambda doc: [(ent.start, ent.end, ent.label_) for ent in doc.ents],
    "tagger": lambda doc: [token.tag_ for token in doc],
    "morphologizer": lambda doc: [(token.pos_, str(token.morph)) for token in doc],
}
COMPONENTS = ["birnn_ner", "birnn_tagger", "birnn_morphologizer", "ner", "tagger"]


def read(name, doc):
    return READ[name.replace("birnn_", "")](doc)


def tok2vec_model(name, tiny_tok2vec):
    parts = TOK2VECS[name]
    return tiny_tok2vec if parts is None else {"@architectures": "spacy.Tok2Vec.v2", **parts}


def knows_by_heart(nlp, component, examples):
    """Whether a component, alone, gives the examples' annotation."""
    others = [name for name in nlp.pipe_names if name not in (component, "tok2vec")]
    with nlp.select_pipes(disable=others):
        docs = [nlp(Doc(nlp.vocab, words=[token.text for token in eg.y])) for eg in examples]
    return [read(component, doc) for doc in docs] == [read(component, eg.y) for eg in examples]


@pytest.mark.parametrize(
    "component, tok2vec",
    [("tagger", name) for name in TOK2VECS]
    + [("ner", name) for name in ("birnn-encoder", "word-char-embed", "birnn-tok2vec")]
    + [("birnn_ner", "both")],
)
def test_a_component_with_a_model_of_its_own(
    nlp, tok2vec, component, tiny_tok2vec, make_examples, fit, reload, weights, same
):
    model = {"tok2vec": tok2vec_model(tok2vec, tiny_tok2vec)}
    pipe = nlp.add_pipe(component, config={"model": model})
    examples = make_examples(nlp)
    fit(nlp, examples, steps=120, rate=0.01)
    assert knows_by_heart(nlp, component, examples)
    loaded = reload(nlp)
    assert knows_by_heart(loaded, component, examples)
    assert same(weights(loaded.get_pipe(component).model), weights(pipe.model))


@pytest.fixture(scope="module")
def shared_once(tiny_tok2vec, make_examples, fit):
    """A tok2vec component to which components of both kinds listen."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    for name in COMPONENTS:
        nlp.add_pipe(name, config={"model": {"tok2vec": LISTENER}})
    fit(nlp, make_examples(nlp), steps=120, rate=0.01)
    return nlp


@pytest.fixture
def shared(shared_once, reload):
    return reload(shared_once)


def test_components_listen_to_a_shared_tok2vec(shared_once, make_examples, reload):
    nlp = shared_once
    listening = nlp.get_pipe("tok2vec").listening_components
    assert sorted(listening) == sorted(COMPONENTS)
    examples = make_examples(nlp)
    for component in COMPONENTS:
        assert knows_by_heart(nlp, component, examples), component
        assert knows_by_heart(reload(nlp), component, examples), component


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_listener_trains_the_shared_tok2vec(
    shared, component, make_examples, reload, weights, unmoved
):
    for name in COMPONENTS:
        if name != component:
            shared.remove_pipe(name)
    nlp = reload(shared)
    model = nlp.get_pipe("tok2vec").model
    before = weights(model)
    # Other annotation than before, so that there is something to learn
    annotation = {
        "tags": ["NNP", "NNP"],
        "pos": ["VERB", "VERB"],
        "morphs": ["Tense=Past", "Tense=Past"],
        "entities": ["U-ORG", "U-GPE"],
    }
    doc = Doc(nlp.vocab, words=["bread", "sell"])
    sgd = Adam(0.01)
    for _ in range(2):  # what the listener finds in one update, spaCy applies in the next
        losses = nlp.update([Example.from_dict(doc, annotation)], sgd=sgd)
    assert losses[component] > 0
    assert unmoved(before, weights(model)) == []


def test_listeners_can_be_replaced(shared, make_examples, reload, fit):
    examples = make_examples(shared)
    for component in COMPONENTS:
        shared.replace_listeners("tok2vec", component, ["model.tok2vec"])
    shared.remove_pipe("tok2vec")
    loaded = reload(shared)
    for component in COMPONENTS:
        assert knows_by_heart(shared, component, examples), component
        assert knows_by_heart(loaded, component, examples), component
    block = shared.config["components"]["birnn_ner"]["model"]["tok2vec"]
    assert block["@architectures"] == "spacy-birnn.BiRNNTok2Vec.v1"


def test_a_replaced_listener_is_trained_on_its_own(shared, make_examples, weights, same, unmoved):
    shared.replace_listeners("tok2vec", "birnn_ner", ["model.tok2vec"])
    shared.replace_listeners("tok2vec", "birnn_tagger", ["model.tok2vec"])
    ner, tagger = (shared.get_pipe(f"birnn_{name}").model for name in ("ner", "tagger"))
    before = weights(ner), weights(tagger), weights(shared.get_pipe("tok2vec").model)
    examples = make_examples(shared)
    others = [name for name in shared.pipe_names if name != "birnn_ner"]
    sgd = shared.resume_training()
    for _ in range(2):
        shared.update(examples, sgd=sgd, exclude=others)
    assert unmoved(before[0], weights(ner)) == []
    assert same(weights(tagger), before[1])
    assert same(weights(shared.get_pipe("tok2vec").model), before[2])


def test_a_frozen_tok2vec_stays_and_its_listeners_train(
    shared, make_examples, weights, same, unmoved
):
    tok2vec, tagger = shared.get_pipe("tok2vec").model, shared.get_pipe("birnn_tagger").model
    before = weights(tok2vec), weights(tagger.get_ref("output_layer"))
    sgd = shared.resume_training()
    shared.update(make_examples(shared), sgd=sgd, exclude=["tok2vec"], annotates=["tok2vec"])
    assert same(weights(tok2vec), before[0])
    assert unmoved(before[1], weights(tagger.get_ref("output_layer"))) == []


@pytest.mark.parametrize("component", ["birnn_ner", "birnn_tagger", "birnn_morphologizer"])
def test_a_sourced_component_predicts_the_same(nlp, shared, component, make_examples, reload):
    nlp.add_pipe("tok2vec", source=shared)
    nlp.add_pipe(component, source=shared)
    examples = make_examples(nlp)
    assert knows_by_heart(nlp, component, examples)
    assert knows_by_heart(reload(nlp), component, examples)


def test_a_sourced_component_with_replaced_listeners(nlp, shared, make_examples, reload):
    shared.replace_listeners("tok2vec", "birnn_ner", ["model.tok2vec"])
    nlp.add_pipe("birnn_ner", source=shared)
    assert knows_by_heart(nlp, "birnn_ner", make_examples(nlp))
    assert knows_by_heart(reload(nlp), "birnn_ner", make_examples(nlp))


def test_vectors_do_not_depend_on_the_batch(shared_once, mixed_texts):
    model = shared_once.get_pipe("tok2vec").model
    docs = [shared_once.make_doc(text) for text in mixed_texts]
    for doc, vectors in zip(docs, model.predict(docs)):
        assert vectors.shape == (len(doc), 16)
        np.testing.assert_allclose(model.predict([doc])[0], vectors, atol=1e-6)


def test_static_vectors_reach_a_component(tiny_tok2vec, make_examples, fit, reload):
    nlp = spacy.blank("xx")
    data = np.random.normal(size=(2, 5)).astype("f")
    nlp.vocab.vectors = Vectors(data=data, keys=["Oslo", "bread"], strings=nlp.vocab.strings)
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": tiny_tok2vec}})
    fit(nlp, make_examples(nlp), steps=120, rate=0.01)
    assert knows_by_heart(nlp, "birnn_tagger", make_examples(nlp))
    assert knows_by_heart(reload(nlp), "birnn_tagger", make_examples(nlp))
    without = nlp.to_bytes(exclude=["vocab"])
    other = spacy.util.load_model_from_config(nlp.config).from_bytes(without)
    with pytest.raises(ValueError, match="BIRNN-E014.*0 .*5"):
        other("Oslo")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": -16}, "E001.*'width'.*-16"),
        ({"width": 15}, "E003.*15"),
        ({"depth": 0}, "E001.*'depth'.*0"),
        ({"cell": "cnn"}, "E001.*'cell'.*cnn"),
        ({"merge": "sum", "direction": "forward"}, "E002.*forward"),
        ({"embed_width": 0}, "E001.*'embed_width'.*0"),
        ({"embed_rows": 0}, "E001.*'embed_rows'.*0"),
        ({"word_dropout": 1.0}, "E001.*'word_dropout'.*1.0"),
        ({"char_width": 7}, "E001.*'char_width'.*7"),
        ({"dropout": 2.0}, "E001.*'dropout'.*2.0"),
    ],
)
def test_impossible_settings_are_named_in_a_config(nlp, tiny_tok2vec, settings, message):
    config = {"model": {"tok2vec": {**tiny_tok2vec, **settings}}}
    with pytest.raises(ValueError, match=f"BIRNN-{message}"):
        nlp.add_pipe("birnn_tagger", config=config)


def test_every_option_can_be_set(nlp, tiny_tok2vec, make_examples, fit):
    options = {"cell": "gru", "depth": 2, "direction": "backward", "merge": "concat"}
    options |= {"dropout": 0.1, "locked_dropout": 0.1, "char_width": None, "word_dropout": 0.1}
    config = {"model": {"tok2vec": {**tiny_tok2vec, **options}}}
    nlp.add_pipe("birnn_tagger", config=config)
    first = fit(nlp, make_examples(nlp), steps=1)
    last = fit(nlp, make_examples(nlp), steps=20)
    assert last["birnn_tagger"] < first["birnn_tagger"]


def test_an_impossible_cell_is_blamed_on_the_block_that_has_it():
    with pytest.raises(BirnnError, match="BIRNN-E001.*'cell'.*'LSTM'.*BiRNNTok2Vec"):
        build_birnn_tok2vec(cell="LSTM")
