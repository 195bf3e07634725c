"""Names that a user's config relies on."""

import inspect
from importlib.metadata import distribution

import pytest
import spacy
from spacy.tokens import Doc

FACTORIES = {
    "birnn_ner",
    "birnn_tagger",
    "birnn_morphologizer",
    "birnn_textcat",
    "birnn_textcat_multilabel",
    "birnn_lemmatizer",
}
TINY_TOK2VEC = {"@architectures": "spacy-birnn.BiRNNTok2Vec.v1", "width": 8}
# With each architecture what it asks for
ARCHITECTURES = {
    "spacy-birnn.CharRNN.v1": {},
    "spacy-birnn.WordCharEmbed.v1": {
        "width": 8,
        "rows": 10,
        "word_dropout": 0.1,
        "chars": {"@architectures": "spacy-birnn.CharRNN.v1"},
    },
    "spacy-birnn.BiRNNEncoder.v1": {"width": 8},
    "spacy-birnn.BiRNNTok2Vec.v1": {},
    "spacy-birnn.SequenceTagger.v1": {"tok2vec": TINY_TOK2VEC, "output": "crf"},
    "spacy-birnn.TextClassifier.v1": {"tok2vec": TINY_TOK2VEC},
    "spacy-birnn.Lemmatizer.v1": {},
}


def entry_points(group):
    return [ep for ep in distribution("spacy-birnn").entry_points if ep.group == group]


def test_every_name_is_registered():
    assert {ep.name for ep in entry_points("spacy_factories")} >= FACTORIES
    assert {ep.name for ep in entry_points("spacy_architectures")} >= ARCHITECTURES.keys()


@pytest.mark.parametrize("entry_point", distribution("spacy-birnn").entry_points, ids=str)
def test_every_entry_point_can_be_loaded(entry_point):
    assert entry_point.load() is not None


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_builds_with_its_defaults(name):
    config = {"model": {"@architectures": name, **ARCHITECTURES[name]}}
    model = spacy.registry.resolve(config)["model"]
    assert model.layers or model.shims
    filled = spacy.registry.fill(config)["model"]
    signature = inspect.signature(spacy.registry.architectures.get(name))
    assert set(filled) == {"@architectures", *signature.parameters}


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_every_factory_builds_with_its_defaults(name, nlp):
    pipe = nlp.add_pipe(name)
    assert pipe.name == name and pipe.is_trainable and pipe.labels == ()


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_every_factory_says_what_it_assigns_and_how_it_is_scored(name, nlp):
    nlp.add_pipe(name)
    meta = nlp.get_pipe_meta(name)
    assert meta.assigns
    weights = [weight for weight in meta.default_score_weights.values() if weight is not None]
    assert sum(weights) == pytest.approx(1.0)
    assert nlp.analyze_pipes()["problems"][name] == []


def test_the_confidence_is_there_for_a_document_from_elsewhere():
    """A saved document has its entities' confidence also where the pipeline is not loaded."""
    spacy.blank("xx")  # reads the entry points
    assert Doc(spacy.blank("xx").vocab, words=["a"])[0:1]._.confidence is None
