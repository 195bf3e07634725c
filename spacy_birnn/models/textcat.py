"""The text classifier: a document's vectors pooled to one, and a score for each label from it."""

from typing import Any, Callable, List, Optional, Tuple

import numpy as np
from thinc.api import Linear, Maxout, Model, chain, zero_init
from thinc.types import Floats1d, Floats2d

from ..checks import POOLINGS, check_choice, check_positive
from ..errors import Errors
from .encoder import with_self_attention
from .ops import with_torch_product
from .torch_wrapper import TorchShim, run_module, torch_shim
from .types import DocHead, DocScores, DocsToVectors, TextClassifier

# The bias of a label that is added to a trained model: improbable (1 in 150) until it is learnt
NEW_LABEL_BIAS = -5.0


def build_text_classifier(
    tok2vec: DocsToVectors,
    *,
    pooling: str = "attention",
    hidden_width: int = 64,
    attention_heads: int = 0,
    nO: Optional[int] = None,
) -> TextClassifier:
    """Score every label of a document: its token vectors are pooled to one (see
    `layers.attention.Pooling`), which goes through a hidden layer with dropout (maxout with layer
    normalisation) and a linear layer. The model gives scores (logits) only; whether the labels
    exclude one another is up to the component, `birnn_textcat` or `birnn_textcat_multilabel`.

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
    nO (Optional[int]): Number of labels; the pipe sets it.
    RAISES (ValueError): E001, E030 or E032 for impossible settings.
    """
    where = "spacy-birnn.TextClassifier.v1"
    check_choice("pooling", pooling, POOLINGS, where=where)
    check_positive("hidden_width", hidden_width, where=where)
    if pooling == "last":
        _check_directions(tok2vec)
    head = _head(pooling, hidden_width, tok2vec.maybe_get_dim("nO"), nO)
    model = chain(with_self_attention(tok2vec, attention_heads, where=where), head)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", head.layers[-1])
    model.attrs["pooling"] = pooling
    model.attrs["resize_output"] = _resize
    return model


def _check_directions(tok2vec: DocsToVectors) -> None:
    for node in tok2vec.walk():
        if node.name == "birnn_encoder":
            settings = torch_shim(node).settings
            if (settings["direction"], settings["merge"]) != ("both", "concat"):
                raise ValueError(Errors.E032.format(**settings))


def _head(pooling: str, hidden_width: int, nI: Optional[int], nO: Optional[int]) -> DocHead:
    pool: Model = Model(
        "pooling",
        _forward_pooling,
        init=_init_pooling,
        dims={"nI": nI, "nO": nI},
        shims=[TorchShim("pooling", _build_pooling, {"kind": pooling})],
    )
    hidden = Maxout(hidden_width, nI, nP=3, normalize=True, dropout=0.0)
    output = Linear(nO, hidden_width, init_W=zero_init)
    head: DocHead = Model(
        "doc_scores", _forward, init=_init, layers=[pool, hidden, output], dims={"nI": nI, "nO": nO}
    )
    return with_torch_product(head)


def _init(model: DocHead, X=None, Y=None) -> None:
    pool, hidden, output = model.layers
    pool.initialize(X=X)
    hidden.initialize(X=None if X is None else pool.predict(X)[0])
    if Y is not None:
        output.set_dim("nO", Y.shape[1], force=True)
    output.initialize()
    model.set_dim("nI", pool.get_dim("nI"), force=True)
    model.set_dim("nO", output.get_dim("nO"), force=True)


def _forward(model: DocHead, Xs: List[Floats2d], is_train: bool) -> Tuple[DocScores, Callable]:
    ops: Any = model.ops
    pool, hidden, output = model.layers
    (pooled, attention), backprop_pool = pool(Xs, is_train)
    vectors, backprop_hidden = hidden(pooled, is_train)
    logits, backprop_output = output(vectors, is_train)

    def backprop(d_logits: Floats2d) -> List[Floats2d]:
        return backprop_pool(backprop_hidden(backprop_output(ops.asarray2f(d_logits))))

    return DocScores(ops.to_numpy(logits), attention), backprop


def _build_pooling(**cfg: Any) -> Any:
    from ..layers.attention import Pooling

    return Pooling(**cfg)


def _init_pooling(model: Model, X=None, Y=None) -> None:
    if X:
        model.set_dim("nI", X[0].shape[1], force=True)
    if not model.has_dim("nI"):
        raise ValueError(Errors.E015.format(name=model.name))
    width = model.get_dim("nI")
    model.set_dim("nO", width, force=True)
    torch_shim(model).build(width=width)


def _forward_pooling(
    model: Model, Xs: List[Floats2d], is_train: bool
) -> Tuple[Tuple[Floats2d, Optional[List[Floats1d]]], Callable]:
    ops: Any = model.ops
    lengths = np.array([len(X) for X in Xs], dtype="int64")
    X = ops.flatten(Xs) if len(Xs) else ops.alloc2f(0, model.get_dim("nI"))
    (pooled, weights), backprop_module = run_module(model, X, lengths, is_train=is_train)
    attention = None if weights is None else ops.unflatten(weights, lengths)

    def backprop(d_pooled: Floats2d) -> List[Floats2d]:
        return ops.unflatten(backprop_module(d_pooled), lengths)

    return (pooled, attention), backprop


def _resize(model: TextClassifier, nO: int) -> TextClassifier:
    """Make room for more labels; those that exist keep their scores. The layer is a new one, so
    that no gradient or state of an optimizer has the old shape."""
    old = model.get_ref("output_layer")
    new = with_torch_product(Linear(nO, old.get_dim("nI"), init_W=zero_init))
    for name, start in (("W", 0.0), ("b", NEW_LABEL_BIAS)):
        if old.has_param(name):
            param: Any = old.get_param(name)
            larger: Any = model.ops.alloc_f((nO, *param.shape[1:]))
            larger += start
            larger[: len(param)] = param
            new.set_param(name, larger)
    model.replace_node(old, new)
    for node in (model, model.layers[-1]):
        node.set_dim("nO", nO, force=True)
    return model
