"""The text classifier: a document's vectors pooled to one, and a score for each label from it; and
beside it a score from the document's n-grams."""

from typing import Any, Callable, List, Optional, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.api import Linear, Maxout, Model, SparseLinear_v2, chain, with_cpu, zero_init
from thinc.types import Floats1d, Floats2d, Floats3d, Ints1d

from ..checks import POOLINGS, check_choice, check_count, check_positive, check_width
from ..errors import BirnnError, Errors
from .encoder import with_self_attention
from .ops import with_numpy_product
from .prediction import with_graph
from .tagger import NEW_LABEL_SCORE
from .torch_wrapper import TorchShim, run_module, torch_shim
from .types import DocHead, DocScores, DocsToVectors, TextClassifier


def build_text_classifier(
    tok2vec: DocsToVectors,
    *,
    pooling: str = "attention",
    hidden_width: int = 64,
    attention_heads: int = 0,
    ngram_size: int = 2,
    ngram_rows: int = 2**18,
    nO: Optional[int] = None,
) -> TextClassifier:
    """Score every label of a document in two ways, each of which learns by itself:

        reading     the token vectors are pooled to one (see `layers.attention.Pooling`), which goes
                    through a hidden layer with dropout (maxout with layer normalisation) and a
                    linear layer
        n-grams     a linear model over counts of words and word sequences, hashed to a table of
                    fixed size (Thinc's SparseLinear, as in spaCy's bag of words; Weinberger et al.
                    2009, https://arxiv.org/abs/0902.2206)

    The scores (logits) are the mean of the two, so the probabilities are their normalised geometric
    mean (a product of experts, Hinton 2002). Each has a loss of its own: of a sum that is learnt
    together, one part does not learn what the other has learnt sooner. Whether the labels exclude
    one another is up to the component, `birnn_textcat` or `birnn_textcat_multilabel`.

    tok2vec (Model[List[Doc], List[Floats2d]]): The token vectors.
    pooling (str): "last", "mean", "max" or "attention", which also tells how much each token
        counts. "last" takes the first half of the last token's vector and the second half of the
        first token's: the final states of an encoder with direction "both" and merge "concat". Of
        another encoder, or one behind a listener, you know yourself whether the halves are that;
        with self-attention between, the halves have seen the other tokens too.
    hidden_width (int): Width of the hidden layer. Recommended: 32 to 300.
    attention_heads (int): Heads of self-attention between the encoder and the pooling (see
        `layers.attention.SelfAttention`), a divisor of the encoder's width. 0 for none.
        Recommended: 0 to 8.
    ngram_size (int): Words of the longest n-gram. 0 for no n-grams. Recommended: 0 to 3.
    ngram_rows (int): Weights of each label's n-grams, 4 bytes each in the saved model. Recommended:
        2**16 to 2**20; fewer where there are many labels.
    nO (Optional[int]): Number of labels; the pipe sets it.
    RAISES (ValueError): E001, E030 or E032 for impossible settings.
    """
    where = "spacy-birnn.TextClassifier.v1"
    check_choice("pooling", pooling, POOLINGS, where=where)
    check_positive("hidden_width", hidden_width, where=where)
    check_count("ngram_size", ngram_size, where=where)
    check_positive("ngram_rows", ngram_rows, where=where)
    if pooling == "last":
        _check_directions(tok2vec)
    head = _head(pooling, hidden_width, tok2vec.maybe_get_dim("nO"), nO)
    vectors = with_self_attention(tok2vec, attention_heads, where=where)
    reading = with_graph(chain(vectors, head), _finish)
    linear: Model = SparseLinear_v2(nO, ngram_rows)
    ngrams = with_cpu(chain(_ngrams(ngram_size), linear), head.ops)
    layers = [reading, ngrams] if ngram_size else [reading]
    model: TextClassifier = Model(
        "text_classifier", _forward, init=_init, layers=layers, dims={"nO": nO}
    )
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", head.layers[-1])
    if ngram_size:
        model.set_ref("ngram_layer", linear)
    model.attrs["pooling"] = pooling
    model.attrs["resize_output"] = _resize
    return model


def _init(model: TextClassifier, X=None, Y=None) -> None:
    for layer in model.layers:
        layer.initialize(X=X, Y=Y)
    model.set_dim("nO", model.get_ref("output_layer").get_dim("nO"), force=True)


def _forward(
    model: TextClassifier, docs: List[Doc], is_train: bool
) -> Tuple[DocScores, Callable[[Floats3d], List[Doc]]]:
    ops: Any = model.ops
    (logits, attention), backprop_reading = model.layers[0](docs, is_train)
    parts, backprops = [logits], [backprop_reading]
    for layer in model.layers[1:] if docs else ():
        logits, backprop_layer = layer(docs, is_train)
        parts.append(ops.to_numpy(logits))
        backprops.append(backprop_layer)
    stacked: Any = np.stack(parts)

    def backprop(d_parts: Floats3d) -> List[Doc]:
        d_docs = [run(ops.asarray2f(d_logits)) for run, d_logits in zip(backprops, d_parts)]
        return d_docs[0]

    return DocScores(stacked.mean(axis=0), attention, stacked), backprop


def _ngrams(size: int) -> Model[List[Doc], Tuple[Ints1d, Floats1d, Ints1d]]:
    """The ids of the words of each document and of its n-grams, each counted once for each time it
    occurs, and how many there are in each document: what SparseLinear reads."""
    return Model("ngrams", _forward_ngrams, attrs={"size": size})


def _forward_ngrams(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[Tuple[Ints1d, Floats1d, Ints1d], Callable]:
    ops: Any = model.ops
    keys, lengths = [], []
    for doc in docs:
        words = doc.to_array(ORTH)
        # Not longer than the document, which Thinc does not check
        sizes = range(2, min(model.attrs["size"], len(words)) + 1)
        keys.append(np.concatenate([words, *(ops.ngrams(n, words) for n in sizes)]))
        lengths.append(len(keys[-1]))
    n = sum(lengths)
    found: Any = np.concatenate(keys), np.ones(n, dtype="f"), np.array(lengths, dtype="int32")
    return found, lambda d_found: []


def _check_directions(tok2vec: DocsToVectors) -> None:
    for node in tok2vec.walk():
        if node.name == "birnn_encoder":
            settings = torch_shim(node).settings
            if (settings["direction"], settings["merge"]) != ("both", "concat"):
                raise BirnnError(Errors.E032.format(**settings))


def _head(pooling: str, hidden_width: int, nI: Optional[int], nO: Optional[int]) -> DocHead:
    pool: Model = Model(
        "pooling",
        _forward_pooling,
        init=_init_pooling,
        dims={"nI": nI, "nO": nI},
        shims=[TorchShim("pooling", "attention.Pooling", {"kind": pooling})],
    )
    hidden = Maxout(hidden_width, nI, nP=3, normalize=True, dropout=0.0)
    output = Linear(nO, hidden_width, init_W=zero_init)
    head: DocHead = Model(
        "doc_scores",
        _forward_head,
        init=_init_head,
        layers=[pool, hidden, output],
        dims={"nI": nI, "nO": nO},
    )
    return with_numpy_product(head)


def _init_head(model: DocHead, X=None, Y=None) -> None:
    pool, hidden, output = model.layers
    pool.initialize(X=X)
    hidden.initialize(X=None if X is None else pool.predict(X)[0])
    if Y is not None:
        output.set_dim("nO", Y.shape[1], force=True)
    output.initialize()
    model.set_dim("nI", pool.get_dim("nI"), force=True)
    model.set_dim("nO", output.get_dim("nO"), force=True)


def _forward_head(
    model: DocHead, Xs: List[Floats2d], is_train: bool
) -> Tuple[Tuple[Floats2d, Optional[List[Floats1d]]], Callable]:
    ops: Any = model.ops
    pool, hidden, output = model.layers
    (pooled, attention), backprop_pool = pool(Xs, is_train)
    vectors, backprop_hidden = hidden(pooled, is_train)
    logits, backprop_output = output(vectors, is_train)

    def backprop(d_logits: Floats2d) -> List[Floats2d]:
        return backprop_pool(backprop_hidden(backprop_output(ops.asarray2f(d_logits))))

    return (ops.to_numpy(logits), attention), backprop


def _finish(model: Model, outputs: List[np.ndarray], lengths: np.ndarray) -> Any:
    """What the head gives. In the graph are no empty documents: their pooled vector is 0."""
    logits, *attention = outputs
    if not lengths.all():
        _, hidden, output = model.layers[0].layers[-1].layers
        empty = output.predict(hidden.predict(hidden.ops.alloc2f(1, hidden.get_dim("nI"))))
        logits[lengths == 0] = empty
    weights = np.split(attention[0], np.cumsum(lengths)[:-1]) if attention else None
    return logits, weights


def _init_pooling(model: Model, X=None, Y=None) -> None:
    if X:
        model.set_dim("nI", X[0].shape[1], force=True)
    if not model.has_dim("nI"):
        raise BirnnError(Errors.E015.format(name=model.name))
    width, shim = model.get_dim("nI"), torch_shim(model)
    # The width of a shared tok2vec is known only now
    check_positive("width", width, where="tok2vec", even=shim.settings["kind"] == "last")
    model.set_dim("nO", width, force=True)
    shim.build(width=width)


def _forward_pooling(
    model: Model, Xs: List[Floats2d], is_train: bool
) -> Tuple[Tuple[Floats2d, Optional[List[Floats1d]]], Callable]:
    ops: Any = model.ops
    lengths = np.array([len(X) for X in Xs], dtype="int64")
    X = ops.flatten(Xs) if len(Xs) else ops.alloc2f(0, model.get_dim("nI"))
    check_width(X.shape[1], model.maybe_get_dim("nI"), name=model.name)
    if not len(X):
        # Documents without tokens have the vector 0
        is_weighted = torch_shim(model).settings["kind"] == "attention"
        none = [ops.alloc1f(0) for _ in Xs] if is_weighted else None
        return (ops.alloc2f(len(Xs), X.shape[1]), none), lambda d_pooled: Xs
    (pooled, weights), backprop_module = run_module(model, X, lengths, is_train=is_train)
    attention = None if weights is None else ops.unflatten(weights, lengths)

    def backprop(d_pooled: Floats2d) -> List[Floats2d]:
        return ops.unflatten(backprop_module(d_pooled), lengths)

    return (pooled, attention), backprop


def _resize(model: TextClassifier, nO: int) -> TextClassifier:
    """Make room for more labels; those that exist keep their scores. The layers are new ones, so
    that no gradient or state of an optimizer has the old shape."""
    old = model.get_ref("output_layer")
    new = Linear(nO, old.get_dim("nI"), init_W=zero_init)
    _replace(model, old, new, (nO, old.get_dim("nI")))
    ngrams = model.maybe_get_ref("ngram_layer")
    if ngrams is not None:
        rows = ngrams.get_dim("length")
        # The weights of one label follow those of the other, in one dimension
        _replace(model, ngrams, SparseLinear_v2(nO, rows), (nO * rows,))
    reading = model.layers[0]
    inner = reading.layers[0]
    for node in (model, reading, inner, inner.layers[-1]):
        node.set_dim("nO", nO, force=True)
    return model


def _replace(model: TextClassifier, old: Model, new: Model, shape: Tuple[int, ...]) -> None:
    """Replace a layer by one with more labels, on the same device.

    shape (Tuple[int, ...]): That of the new weights W, in which the old ones come first.
    """
    new.ops = old.ops
    starts = {"W": (shape, 0.0), "b": ((new.get_dim("nO"),), NEW_LABEL_SCORE)}
    for name, (larger_shape, start) in starts.items():
        if old.has_param(name):
            param: Any = old.get_param(name)
            larger: Any = old.ops.alloc_f(larger_shape)
            larger += start
            larger[: len(param)] = param
            new.set_param(name, larger)
    model.replace_node(old, new)
