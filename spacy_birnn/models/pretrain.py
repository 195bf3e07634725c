"""Language-model pretraining: each direction of the encoder predicts the word to be read next."""

from typing import Any, Callable, Dict, List, Literal, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Linear, Model, chain
from thinc.types import Floats2d

from ..checks import check_choice, check_positive
from ..errors import BirnnError, Errors, ReportOnce, Warnings
from .ops import with_numpy_product
from .torch_wrapper import torch_shim
from .types import DocsToVectors

# A word's characters are predicted as bytes
BYTES = 256

PretrainModel = Model[List[Doc], Floats2d]
Loss = Callable[[Any, List[Doc], Floats2d], Tuple[float, Floats2d]]


def build_pretrain_bilm(
    *,
    target: Literal["words", "characters"] = "words",
    rows: int = 10000,
    n_characters: int = 4,
) -> Callable[[Vocab, DocsToVectors], PretrainModel]:
    """A pretraining objective for `spacy pretrain`: a language model in both directions (Peters et
    al. 2018, https://arxiv.org/abs/1802.05365). The forward half of a token's vector predicts the
    next word, the backward half the previous one; one output layer serves both. The loss is

        - sum_t log p(w_{t+1} | w_1 .. w_t) - sum_t log p(w_{t-1} | w_t .. w_n)

    in nats. The first and the last word of a document have one neighbour, and what is beyond is not
    predicted, because where a text begins and ends depends on how the corpus was cut.

    A vector must not see the word it predicts. So the tok2vec is a `spacy.Tok2Vec.v2` (or
    `spacy-birnn.BiRNNTok2Vec.v1`) with an embedding that looks at each token alone, and a
    `spacy-birnn.BiRNNEncoder.v1` with one direction, or with both, merge "concat" and either depth
    1 or stack "independent".

    target (str): What to predict of a word: "words", which it is, or "characters", its first and
        last characters. "characters" is faster and suits small corpora and rich morphology.
    rows (int): Of "words" the number of classes: a word's class is its hash modulo `rows`, so there
        is no vocabulary to make. Recommended: 5000 to 50000; time is proportional to it, and so
        is memory: a batch of 1000 words with 10000 rows takes about 200 MB. So set `max_length` of
        the reader, such as 500.
    n_characters (int): Of "characters" the number of bytes, from the beginning and the end of the
        word in turn. Recommended: 4 to 8.
    RETURNS (Callable[[Vocab, Model], Model]): Makes the model to train from a tok2vec, and refuses
        one that does not fit (E050 to E052).
    RAISES (ValueError): E001 for impossible settings.
    """
    where = "spacy-birnn.PretrainBiLM.v1"
    check_choice("target", target, ("words", "characters"), where=where)
    check_positive("rows", rows, where=where)
    check_positive("n_characters", n_characters, where=where)

    n_classes = rows if target == "words" else BYTES

    def right_classes(doc: Doc) -> np.ndarray:
        """What is right of each token, shape (tokens, parts): its word, or each character."""
        if target == "words":
            return (doc.to_array(ORTH)[:, None] % rows).astype("int64")
        return np.asarray(doc.to_utf8_array(nr_char=n_characters), dtype="int64")

    def create_objective(vocab: Vocab, tok2vec: DocsToVectors) -> PretrainModel:
        directions = _check_blind(vocab, tok2vec)
        parts = 1 if target == "words" else n_characters
        # Not from 0: the encoder would wait until the output has learned how frequent words are
        output: Model[Floats2d, Floats2d] = with_numpy_product(Linear(parts * n_classes))
        model: PretrainModel = chain(tok2vec, _states(directions), output)
        model.set_ref("tok2vec", tok2vec)
        model.set_ref("output_layer", output)
        model.attrs["loss"] = _cross_entropy(directions, n_classes, right_classes)
        return model

    return create_objective


def _check_blind(vocab: Vocab, tok2vec: DocsToVectors) -> List[str]:
    """The directions that the tok2vec's vectors consist of.

    RAISES (ValueError): E050 to E052 unless each is blind to the word that it is to predict.
    """
    encoder = tok2vec.get_ref("encode") if tok2vec.has_ref("encode") else tok2vec
    if encoder.name != "birnn_encoder":
        raise BirnnError(Errors.E050.format(found=encoder.name))
    embed = tok2vec.get_ref("embed")
    words = ["a", "b", "c", "d", "e"]
    together, *alone = embed.predict(
        [Doc(vocab, words=words), *(Doc(vocab, words=[w]) for w in words)]
    )
    if any(abs(row - own[0]).max() > 1e-4 for row, own in zip(together, alone)):
        raise BirnnError(Errors.E051.format(found=embed.name))
    settings: Dict[str, Any] = torch_shim(encoder).settings
    if settings["direction"] != "both":
        return [settings["direction"]]
    mixed = settings["depth"] > 1 and settings["stack"] != "independent"
    if settings["merge"] != "concat" or mixed:
        raise BirnnError(Errors.E052.format(**settings))
    return ["forward", "backward"]


def _pairs(lengths: List[int], directions: List[str]) -> List[Tuple[np.ndarray, np.ndarray]]:
    """For each direction, of the flat rows those that have a word to predict, and that word's."""
    has_next = np.ones(sum(lengths), dtype=bool)
    has_next[[end - 1 for end, n in zip(np.cumsum(lengths), lengths) if n]] = False
    left = np.flatnonzero(has_next)
    pairs = {"forward": (left, left + 1), "backward": (left + 1, left)}
    return [pairs[direction] for direction in directions]


def _states(directions: List[str]) -> Model[List[Floats2d], Floats2d]:
    """Each direction's part of the vectors that have a word to predict, first those of the forward
    direction, then those of the backward one; shape (predictions, width / directions)."""

    def forward(model: Model, Xs: List[Floats2d], is_train: bool) -> Tuple[Floats2d, Callable]:
        ops: Any = model.ops
        X, lengths = ops.xp.vstack(Xs), [len(X) for X in Xs]
        rows = [ops.asarray1i(row) for row, _ in _pairs(lengths, directions)]
        parts = ops.xp.split(X, len(directions), axis=1)
        Y = ops.xp.vstack([part[row] for part, row in zip(parts, rows)])

        def backprop(dY: Floats2d) -> List[Floats2d]:
            dX = ops.alloc2f(*X.shape)
            d_parts = ops.xp.split(dX, len(directions), axis=1)  # views
            for d_part, row, d in zip(d_parts, rows, ops.xp.split(dY, len(directions))):
                d_part[row] = d
            return ops.unflatten(dX, lengths)

        return Y, backprop

    return Model("states_to_predict_from", forward)


def _cross_entropy(
    directions: List[str], n_classes: int, right_classes: Callable[[Doc], np.ndarray]
) -> Loss:
    """The loss of a batch, summed, and the gradient of its mean, with respect to the scores of
    shape (predictions, parts * n_classes)."""

    report_too_short = ReportOnce(Warnings.W005)

    def loss(ops: Any, docs: List[Doc], scores: Floats2d) -> Tuple[float, Floats2d]:
        pairs = _pairs([len(doc) for doc in docs], directions)
        predicted = np.concatenate([word for _, word in pairs])
        if not len(predicted):
            report_too_short(n=len(docs))
        right = ops.xp.asarray(np.vstack([right_classes(doc) for doc in docs])[predicted])
        # A row for each part of each prediction. What follows is large and so changed in place
        probs, columns = scores.reshape((-1, n_classes)), right.ravel()
        rows = ops.xp.arange(len(columns))
        probs = probs - ops.xp.max(probs, axis=1, keepdims=True)
        nats = -probs[rows, columns].sum()
        ops.xp.exp(probs, out=probs)
        total = probs.sum(axis=1, keepdims=True)
        nats += ops.xp.log(total).sum()
        probs /= total
        probs[rows, columns] -= 1
        if not np.isfinite(float(nats)):
            raise BirnnError(Errors.E022.format(name="spacy-birnn.PretrainBiLM.v1"))
        probs /= max(1, len(predicted))
        return float(nats), probs.reshape(scores.shape)

    return loss
