"""The tagging head: scores for each token, and for each pair of neighbours."""

from typing import Any, Callable, Dict, List, Literal, Optional, Tuple

import numpy as np
from spacy.ml.models.tok2vec import get_tok2vec_width
from thinc.api import Model, chain
from thinc.types import Floats2d

from ..checks import check_choice, check_width
from ..crf import SequenceScores
from .encoder import with_self_attention
from .ops import with_numpy_product
from .prediction import with_graph
from .torch_wrapper import RECURRENT_RATE
from .types import DocsToVectors, SequenceTagger, TaggingHead

# Scores are this many times what the weights say. The weights begin at 0, so Adam moves the scores
# this many times faster: as `RECURRENT_RATE`, for weights that are Thinc's
SCALE = RECURRENT_RATE

# The score of a label that is added to a trained model. A label that is right scores well above 0,
# so this one has next to no probability until it is learnt; a lower score would take long to leave
NEW_LABEL_SCORE = -5.0


def build_sequence_tagger(
    tok2vec: DocsToVectors,
    *,
    output: Literal["softmax", "crf"],
    attention_heads: int = 0,
    nO: Optional[int] = None,
) -> SequenceTagger:
    """Score every label of every token: a linear layer over the token vectors, and for "crf" a
    score for each pair of neighbouring labels and for each label at either end (Lample et al. 2016,
    https://arxiv.org/abs/1603.01360). The model gives scores only; what follows from them
    (probabilities, best labels, gradients) is in `spacy_birnn.crf`.

    tok2vec (Model[List[Doc], List[Floats2d]]): The token vectors.
    output (str): "softmax" (labels independent given the vectors) or "crf" (a chain of labels).
        "crf" takes time quadratic in the number of labels: recommended up to about 100.
    attention_heads (int): Heads of self-attention over the token vectors (see
        `layers.attention.SelfAttention`), a divisor of their width. 0 for none. Recommended: 0 to
        8.
    nO (Optional[int]): Number of labels; the pipe sets it.
    RAISES (ValueError): E001, E030 for impossible settings.
    """
    where = "spacy-birnn.SequenceTagger.v1"
    check_choice("output", output, ("softmax", "crf"), where=where)
    head = _head(output, get_tok2vec_width(tok2vec), nO)
    vectors = with_self_attention(tok2vec, attention_heads, where=where)
    model = with_graph(chain(vectors, head), _finish)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", head)
    model.attrs["resize_output"] = _resize
    return model


def _head(output: str, nI: Optional[int], nO: Optional[int]) -> TaggingHead:
    chained = ["transitions", "start", "end"] if output == "crf" else []
    head: TaggingHead = Model(
        "sequence_scores",
        _forward,
        init=_init,
        attrs={"output": output},
        params=dict.fromkeys(["W", "b", *chained]),
        dims={"nI": nI, "nO": nO},
    )
    return with_numpy_product(head)


def _init(model: TaggingHead, X=None, Y=None) -> None:
    for name in model.param_names:
        model.set_param(name, None)
    if X:
        model.set_dim("nI", X[0].shape[1], force=True)
    widths = [y.shape[1] for y in Y or () if y.ndim == 2]
    if widths:
        model.set_dim("nO", widths[0], force=True)
    # As in spaCy's tagger the output weights start at 0: at first every label is as likely
    for name in model.param_names:
        model.set_param(name, model.ops.alloc_f(_shape(model, name)))


def _forward(
    model: TaggingHead, Xs: List[Floats2d], is_train: bool
) -> Tuple[SequenceScores, Callable]:
    ops: Any = model.ops
    lengths = np.array([len(X) for X in Xs], dtype="int64")
    X = ops.flatten(Xs) if len(Xs) else ops.alloc2f(0, model.get_dim("nI"))
    check_width(X.shape[1], model.maybe_get_dim("nI"), name=model.name)
    W = model.get_param("W")
    emissions = (ops.gemm(X, W, trans2=True) + model.get_param("b")) * SCALE
    chained = chain_scores(model)
    scores = SequenceScores(ops.to_numpy(emissions), lengths, **chained)

    def backprop(d_scores: SequenceScores) -> List[Floats2d]:
        dY = ops.asarray2f(d_scores.emissions) * SCALE
        model.inc_grad("W", ops.gemm(dY, X, trans1=True))
        model.inc_grad("b", dY.sum(axis=0))
        for name in chained:
            model.inc_grad(name, ops.asarray_f(getattr(d_scores, name)) * SCALE)
        return ops.unflatten(ops.gemm(dY, W), lengths)

    return scores, backprop


def chain_scores(head: TaggingHead) -> Dict[str, Any]:
    """What a head says of pairs of neighbours and of either end, by the names of `SequenceScores`;
    nothing if its labels are independent."""
    names = [name for name in head.param_names if name not in ("W", "b")]
    return {name: head.ops.to_numpy(head.get_param(name)) * SCALE for name in names}


def _finish(
    model: SequenceTagger, outputs: List[np.ndarray], lengths: np.ndarray
) -> SequenceScores:
    return SequenceScores(outputs[0], lengths, **chain_scores(model.layers[0].layers[-1]))


def _resize(model: SequenceTagger, nO: int) -> SequenceTagger:
    """Make room for more labels; those that exist keep their scores. The head is a new one, so that
    no gradient or state of an optimizer has the old shape."""
    old = model.get_ref("output_layer")
    W: Any = old.get_param("W") if old.has_param("W") else np.zeros(0)
    is_trained = bool(W.any())
    new = _head(old.attrs["output"], old.maybe_get_dim("nI"), nO)
    for name in old.param_names:
        if old.has_param(name):
            param = old.get_param(name)
            larger: Any = model.ops.alloc_f(_shape(new, name))
            if name == "b" and is_trained:
                larger += NEW_LABEL_SCORE / SCALE
            larger[tuple(slice(size) for size in param.shape)] = param
            new.set_param(name, larger)
    model.replace_node(old, new)
    return model


def _shape(head: TaggingHead, name: str) -> Tuple[int, ...]:
    nO, nI = head.get_dim("nO"), head.get_dim("nI")
    return {"W": (nO, nI), "transitions": (nO, nO)}.get(name, (nO,))
