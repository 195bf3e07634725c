"""A graph gives what the model gives without it, whatever the architecture, and the same alone and
in any batch."""

from itertools import product

import numpy as np
import pytest
import spacy
from spacy.ml.models import tok2vec as spacy_tok2vec
from spacy.tokens import Doc
from thinc.api import Maxout, Model, Relu, chain, with_array

from spacy_birnn.checks import CELLS, POOLINGS
from spacy_birnn.compiler.program import Program
from spacy_birnn.models.chars import build_char_rnn
from spacy_birnn.models.embed import build_word_char_embed
from spacy_birnn.models.encoder import build_birnn_encoder
from spacy_birnn.models.prediction import as_vectors, with_graph, without_graphs
from spacy_birnn.models.tagger import build_sequence_tagger
from spacy_birnn.models.textcat import build_text_classifier
from spacy_birnn.models.tok2vec import build_birnn_tok2vec

DIRECTIONS = [
    {"direction": "both", "merge": merge} for merge in ("concat", "sum", "mean", "mul")
] + [{"direction": "forward"}, {"direction": "backward"}]
STACKS = [{}, {"depth": 2}, {"depth": 3, "stack": "independent"}]


def small(**settings):
    defaults = {"width": 12, "embed_width": 8, "embed_rows": 50, "char_width": 6, "dropout": None}
    return build_birnn_tok2vec(**{**defaults, **settings})


def agree(model, docs, read=list):
    """The arrays that a model gives with a graph and without, and with a graph each document alone.

    read (Callable): From the output to an array for each document.
    """
    with without_graphs():
        expected = read(model.predict(docs))
    found, alone = read(model.predict(docs)), [read(model.predict([doc]))[0] for doc in docs]
    for one, right in zip([found, alone], [expected, found]):
        assert [array.shape for array in one] == [array.shape for array in right]
    for array, right in zip(found, expected):
        np.testing.assert_allclose(array, right, atol=1e-5)
    for array, right in zip(alone, found):
        np.testing.assert_allclose(array, right, atol=1e-6)


def each_token(scores):
    return np.split(scores.emissions, np.cumsum(scores.lengths)[:-1])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_vectors(cell, direction, stack, docs, randomize):
    model = small(cell=cell, **direction, **stack)
    model.initialize(X=docs)
    agree(randomize(model), docs)


@pytest.mark.parametrize("output, heads", list(product(["softmax", "crf"], [0, 3])))
def test_scores_of_tokens(output, heads, docs, randomize):
    model = build_sequence_tagger(small(), output=output, attention_heads=heads)
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    agree(randomize(model), docs, each_token)


def test_attention_in_blocks(docs, randomize, monkeypatch):
    """The memory of long documents is bounded: their rows do not all look at once."""
    monkeypatch.setattr("spacy_birnn.compiler.attention.BLOCK", 4)
    model = build_sequence_tagger(small(), output="softmax", attention_heads=3)
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    agree(randomize(model), docs, each_token)


def test_very_different_lengths_together(docs, randomize):
    vocab = docs[0].vocab
    lengths = (1, 50000, 0, 3)
    texts = [Doc(vocab, words=[f"w{i % 7}" for i in range(n)]) for n in lengths]
    model = build_sequence_tagger(small(), output="softmax")
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    randomize(model)
    together = each_token(model.predict(texts))
    assert [len(scores) for scores in together] == list(lengths)
    for doc, scores in zip(texts, together):
        np.testing.assert_allclose(each_token(model.predict([doc]))[0], scores, atol=1e-6)


@pytest.mark.parametrize("pooling, heads", list(product(POOLINGS, [0, 3])))
def test_scores_of_texts(pooling, heads, docs, randomize):
    model = build_text_classifier(small(), pooling=pooling, attention_heads=heads, hidden_width=7)
    model.initialize(X=docs, Y=np.zeros((len(docs), 5), "f"))
    randomize(model)
    agree(model, docs, lambda scores: scores.logits)
    if pooling == "attention":
        agree(model, docs, lambda scores: scores.attention)


EMBEDDINGS = {
    "multi": lambda: spacy_tok2vec.MultiHashEmbed(
        width=8, attrs=["NORM", "SHAPE"], rows=[50, 50], include_static_vectors=False
    ),
    "static": lambda: spacy_tok2vec.MultiHashEmbed(
        width=8, attrs=["NORM"], rows=[50], include_static_vectors=True
    ),
    "characters": lambda: spacy_tok2vec.CharacterEmbed(
        width=8, rows=50, nM=4, nC=4, include_static_vectors=False
    ),
    "words": lambda: build_word_char_embed(width=8, rows=50, word_dropout=0.1, chars=None),
    "both": lambda: build_word_char_embed(
        width=8, rows=50, word_dropout=0.1, chars=build_char_rnn(width=6)
    ),
    "own chars": lambda: build_word_char_embed(
        width=8,
        rows=50,
        word_dropout=0.1,
        chars=spacy_tok2vec.CharacterEmbed(
            width=8, rows=50, nM=4, nC=4, include_static_vectors=False
        ),
    ),
}
ENCODERS = {
    "maxout": lambda: spacy_tok2vec.MaxoutWindowEncoder(
        width=8, window_size=1, maxout_pieces=3, depth=3
    ),
    "birnn": lambda: build_birnn_encoder(width=8),
}


@pytest.mark.parametrize("embed", EMBEDDINGS)
@pytest.mark.parametrize("encode", ENCODERS)
def test_parts_of_spacy(embed, encode, docs, randomize):
    # spaCy's own layers fail on an empty document that is alone
    docs = [doc for doc in docs if len(doc)]
    made = EMBEDDINGS[embed]()
    if encode == "maxout" and embed in ("words", "both", "own chars"):
        pytest.skip("its width must be that of the embedding")
    if embed == "static":
        docs = with_vectors(docs)
    tok2vec = spacy_tok2vec.build_Tok2Vec_model(made, ENCODERS[encode]())
    model = build_sequence_tagger(tok2vec, output="softmax")
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    agree(randomize(model), docs, each_token)


def hosted(model):
    return [node.name for node in Program(model, "docs").hosted]


@pytest.mark.parametrize(
    "embed, expected",
    [("multi", []), ("characters", ["charembed"]), ("static", ["static_vectors"]), ("both", [])],
)
def test_what_runs_before_the_graph(embed, expected, docs):
    """What has no converter, and no more than that."""
    docs = with_vectors(docs) if embed == "static" else docs
    tok2vec = spacy_tok2vec.build_Tok2Vec_model(EMBEDDINGS[embed](), ENCODERS["birnn"]())
    tok2vec.initialize(X=[doc for doc in docs if len(doc)])
    assert hosted(tok2vec) == expected


def test_windows_across_documents_stay_as_they_are(docs):
    """spaCy's encoder with mish lets a document see its neighbours. That is not ours to change."""
    encode = spacy_tok2vec.MishWindowEncoder(width=8, window_size=1, depth=1)
    tok2vec = spacy_tok2vec.build_Tok2Vec_model(EMBEDDINGS["multi"](), encode)
    tok2vec.initialize(X=docs)
    model = build_sequence_tagger(tok2vec, output="softmax")
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    assert [node.name for node in Program(model, "docs").hosted] == [tok2vec.name]


def with_vectors(docs):
    nlp = spacy.blank("en")
    for i, word in enumerate(["mouse", "0,000.00", "two", "he"]):
        nlp.vocab.set_vector(word, np.full(4, i + 1.0, dtype="f"))
    return [nlp(doc.text) for doc in docs]


@pytest.mark.parametrize("vectors", [{}, {"train_vectors": True}], ids=["fixed", "trained"])
def test_static_vectors(vectors, docs, randomize):
    own = with_vectors(docs)
    model = small(**vectors)
    model.initialize(X=own)
    agree(randomize(model), own)
    before = model.predict(own)
    own[0].vocab.set_vector("mouse", np.full(4, 9.0, dtype="f"))
    assert not np.allclose(model.predict(own)[0], before[0], atol=1e-3)
    agree(model, own)


@pytest.mark.parametrize(
    "name", ["spelling", "self_attention", "char_rnn", "by_word", "with_graph"]
)
def test_a_node_of_somebody_else_with_a_name_of_ours(name, docs):
    def forward(model, docs, is_train):
        return [np.ones((len(doc), 8), "f") for doc in docs], lambda dYs: docs

    given = Model(name, forward, dims={"nO": 8})
    model = build_sequence_tagger(chain(given, build_birnn_encoder(width=8)), output="softmax")
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    agree(model, docs, each_token)
    assert hosted(model) == [name]


def test_a_part_that_turns_out_to_have_no_converter(docs):
    """What was written of it before is not left behind."""

    def forward(model, docs, is_train):
        return [np.ones((len(doc), 8), "f") for doc in docs], lambda dYs: docs

    given = Model("given", forward)
    part = chain(given, with_array(chain(Maxout(8, 8), Relu(8, 8))))
    model = with_graph(chain(part, build_birnn_encoder(width=8)), as_vectors)
    model.initialize(X=docs)
    agree(model, docs)


def test_documents_of_several_vocabs(docs):
    model = small()
    model.initialize(X=docs)
    others = [spacy.blank("en")(doc.text + " unheard-of") for doc in docs]
    agree(model, [doc for pair in zip(docs, others) for doc in pair])


def test_a_node_without_a_converter_runs_as_before(docs):
    """Between nodes that have one: there is no graph for the whole, but for its parts."""

    def forward(model, Xs, is_train):
        return [X * 2 for X in Xs], lambda dYs: [dY * 2 for dY in dYs]

    double = Model("double", forward)
    embed = EMBEDDINGS["both"]()
    tok2vec = chain(embed, double, build_birnn_encoder(width=8), double)
    tok2vec.set_dim("nO", 8, force=True)
    model = build_sequence_tagger(tok2vec, output="softmax")
    model.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    agree(model, docs, each_token)
