"""The character encoder-decoder that writes lemmas."""

from difflib import SequenceMatcher
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from spacy.ml.featureextractor import FeatureExtractor
from spacy.tokens import Doc
from thinc.api import HashEmbed, Model, chain, concatenate, with_array
from thinc.types import Floats1d, Floats2d, Ints1d, Ints2d

from ..beam import search
from ..checks import KERNEL_CELLS, check_choice, check_positive, check_rate, check_width
from ..errors import BirnnError, Errors
from .features import code_points
from .prediction import GraphShim, program_of
from .torch_wrapper import TorchShim, run_module, torch_shim
from .types import DocsToVectors, LemmaBatch, Lemmatizer

# What earlier components say of a token, the width and the number of rows of each one's table, and
# the share of tokens that are trained without it
ATTRS = ["TAG", "POS", "MORPH"]
ATTR_WIDTH = 32
ATTR_ROWS = 2000
ATTR_DROPOUT = 0.2
# Places of the filter that remembers the values of training
FILTER_SIZE = 2**16
N_CODE_POINTS = 0x110000


def build_lemmatizer(
    *,
    width: int = 128,
    char_width: int = 64,
    rows: int = 1024,
    depth: int = 1,
    cell: str = "gru",
    attention: bool = True,
    dropout: Optional[float] = None,
    hallucinate: float = 0.2,
    tok2vec: Optional[DocsToVectors] = None,
) -> Lemmatizer:
    """Write the lemma of a token from its characters (see `layers.seq2seq.CharSeq2Seq`), and from
    the TAG, POS and MORPH that components before it have set. Of these it heeds only values that
    training showed, and it is trained to do without: a pipeline that has them in training
    ([training] annotating_components), at prediction, in both or in neither gets lemmas either way.

    width (int): Width of the encoder's and the decoder's states, even. Recommended: 64 to 256.
    char_width (int): Width of a character's embedding. Recommended: 32 to 128.
    rows (int): Embeddings for all characters that no lemma of training has, shared by those whose
        code points are equal modulo `rows`. Recommended: 256 to 8192, more for large scripts.
    depth (int): Number of layers of the encoder. Recommended: 1 or 2.
    cell (str): "rnn", "gru" or "lstm".
    attention (bool): Whether the decoder looks at the characters it copies. Without, it cannot copy
        any that no lemma of training has, and it needs much more data.
    dropout (Optional[float]): Dropout on what the encoder and the decoder read and put out. null
        follows [training] dropout. Recommended: 0.2 to 0.4.
    hallucinate (float): Share of the words in training whose stem is replaced by random characters,
        in the form and in the lemma (Anastasopoulos and Neubig 2019,
        https://arxiv.org/abs/1908.05838). So the model learns that a stem is copied, whatever it
        is: what is unlike all words of training, such as a code, keeps its form. Without attention
        it cannot, and none is replaced. Recommended: 0.1 to 0.4, 0 for languages whose stems change
        within.
    tok2vec (Optional[Model[List[Doc], List[Floats2d]]]): Token vectors in context, for lemmas that
        depend on it. null for none: then each form with the same attributes is decoded once and
        kept, which is much faster.
    RAISES (ValueError): E001 for impossible settings.
    """
    where = "spacy-birnn.Lemmatizer.v1"
    settings: Dict[str, Any] = {
        "rows": rows,
        "char_width": char_width,
        "width": width,
        "depth": depth,
    }
    for name, value in settings.items():
        check_positive(name, value, where=where, even=name == "width")
    check_choice("cell", cell, KERNEL_CELLS, where=where)
    check_rate("dropout", dropout, where=where, or_null=True)
    check_rate("hallucinate", hallucinate, where=where)
    settings.update(cell=cell, attention=attention, dropout=dropout)
    condition = _attributes()
    if tok2vec is not None:
        condition = concatenate(condition, tok2vec)
    model: Lemmatizer = Model(
        "lemmatizer",
        _forward,
        init=_init,
        attrs={
            "dropout_rate": 0.0,
            "hallucinate": hallucinate if attention else 0.0,
            "in_context": tok2vec is not None,
            "decode": decode,
        },
        layers=[condition],
        dims={"nO": None},
        shims=[TorchShim("lemmatizer", "seq2seq.CharSeq2Seq", settings), GraphShim("words")],
    )
    if tok2vec is not None:
        model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", model)
    return model


def _attributes() -> DocsToVectors:
    """The hashed attributes of each token. Values that training never showed count as not set."""
    columns = list(range(len(ATTRS)))
    tables = [HashEmbed(ATTR_WIDTH, ATTR_ROWS, column=i, seed=8 + i) for i in columns]
    known = _known_words(columns, ATTR_DROPOUT)
    embed = with_array(chain(known, concatenate(*tables)))
    return chain(FeatureExtractor(ATTRS), embed)


def _known_words(columns: List[int], rate: float) -> Model[Ints2d, Ints2d]:
    """Hide the ids in the given columns, as 0: in training those of a share of the rows, at
    prediction those that training never showed. A hashed table has rows for any id, but what they
    hold for an unknown one is a sum of others. The ids that were shown are remembered in a Bloom
    filter of one hash (Bloom 1970)."""
    return Model(
        "known_words",
        _forward_known,
        init=_init_known,
        params={"shown": None},
        attrs={"columns": columns, "rate": rate, "filter_size": FILTER_SIZE},
    )


def _init_known(model: Model[Ints2d, Ints2d], X=None, Y=None) -> None:
    shape = (len(model.attrs["columns"]), model.attrs["filter_size"])
    model.set_param("shown", model.ops.xp.zeros(shape, dtype="uint8"))


def _forward_known(
    model: Model[Ints2d, Ints2d], ids: Ints2d, is_train: bool
) -> Tuple[Ints2d, Callable]:
    xp = model.ops.xp
    if not model.attrs["rate"] or not len(ids):
        # Nothing has been learned about a hidden word; no ids at all come from Thinc as floats
        return ids, lambda d_ids: d_ids
    shown: Any = model.get_param("shown")
    ids = ids.copy()
    if is_train:
        hidden = xp.random.random(len(ids)) < model.attrs["rate"]
    for row, column in enumerate(model.attrs["columns"]):
        place = ids[:, column] % model.attrs["filter_size"]
        if is_train:
            shown[row, place] = 1
            ids[hidden, column] = 0
        else:
            ids[shown[row, place] == 0, column] = 0
    return ids, lambda d_ids: d_ids


def _init(model: Lemmatizer, X=None, Y=None) -> None:
    """X are documents, Y the characters of the lemmas."""
    (condition,) = model.layers
    condition.initialize(X=X)
    alphabet = [ord(char) for char in Y or ()]
    model.set_dim("nO", 1 + len(alphabet), force=True)
    condition_width = condition.predict(X)[0].shape[1]
    torch_shim(model).build(condition_width=condition_width, alphabet=alphabet)


def _forward(model: Lemmatizer, X: LemmaBatch, is_train: bool) -> Tuple[Floats1d, Callable]:
    """The log-probability of each lemma."""
    docs, tokens, lemmas = X
    condition, backprop_condition = _condition(model, docs, tokens, is_train)
    log_p: Floats1d = model.ops.alloc1f(0)
    if lemmas:
        pairs = list(zip(_forms(docs, tokens), lemmas))
        if is_train:
            pairs = _hallucinated(
                pairs, torch_shim(model).cfg["alphabet"], model.attrs["hallucinate"]
            )
        words, targets = (_characters(list(side)) for side in zip(*pairs))
        log_p, backprop_module = run_module(model, condition, *words, *targets, is_train=is_train)

    def backprop(d_log_p: Floats1d) -> LemmaBatch:
        # A tok2vec that other components share waits for its gradient, even if it is 0
        backprop_condition(backprop_module(d_log_p) if lemmas else condition)
        return docs, tokens, lemmas

    return log_p, backprop


def _hallucinated(
    pairs: List[Tuple[str, str]], alphabet: List[int], rate: float
) -> List[Tuple[str, str]]:
    """Replace the stem in a random share of the pairs of form and lemma. The stem is the longest
    string that both share, if it is more than half of the lemma. The new one has about its length,
    and characters of the alphabet or, as often, any.

    alphabet (List[int]): Code points.
    """
    pairs = list(pairs)
    for i in np.flatnonzero(np.random.random(len(pairs)) < rate):
        form, lemma = pairs[i]
        start, lemma_start, size = SequenceMatcher(None, form, lemma, False).find_longest_match()
        if 2 * size > len(lemma):
            any_ = np.random.random() < 0.5
            length = np.random.randint(1, 2 * size + 1)
            stem = "".join(map(chr, np.random.choice(N_CODE_POINTS if any_ else alphabet, length)))
            pairs[i] = (
                form[:start] + stem + form[start + size :],
                lemma[:lemma_start] + stem + lemma[lemma_start + size :],
            )
    return pairs


def decode(
    model: Lemmatizer,
    docs: List[Doc],
    tokens: Ints1d,
    limits: Ints1d,
    *,
    beam_width: int,
    threshold: float,
) -> List[Optional[str]]:
    """Write the lemmas of some tokens, each distinct one once if they do not depend on context.

    tokens (Ints1d): The tokens, numbered through all documents.
    limits (Ints1d): The most characters that each lemma may have. It depends on the form alone.
    beam_width (int): Beginnings of a lemma that are kept while writing; 1 is greedy.
    threshold (float): The least probability of a lemma, from 0 to 1.
    RETURNS (List[Optional[str]]): The lemmas; None where none came to an end, or the one that did
        is less probable than the threshold.
    """
    if model.attrs["in_context"]:
        return _decode(model, docs, tokens, limits, beam_width, threshold)
    ids = np.concatenate([doc.to_array(["ORTH", *ATTRS]) for doc in docs])[tokens]
    keys = [(beam_width, threshold, *key) for key in ids.tolist()]

    def write(places: List[int]) -> List[Optional[str]]:
        return _decode(model, docs, tokens[places], limits[places], beam_width, threshold)

    return program_of(model).memo.look_up(keys, write)


def _decode(
    model: Lemmatizer,
    docs: List[Doc],
    tokens: Ints1d,
    limits: Ints1d,
    beam_width: int,
    threshold: float,
) -> List[Optional[str]]:
    program = program_of(model)
    condition, _ = _condition(model, docs, tokens, is_train=False)
    chars, lengths = _characters(_forms(docs, tokens))
    vectors = model.ops.to_numpy(condition)
    most: Any = limits
    outputs = search(program, vectors, chars, lengths, most, beam_width=beam_width)
    if not np.isfinite([o.score for o in outputs]).all():
        raise BirnnError(Errors.E022.format(name=model.name))
    return [
        None if o.chars is None or np.exp(o.score) < threshold else "".join(map(chr, o.chars))
        for o in outputs
    ]


def _condition(
    model: Lemmatizer, docs: List[Doc], tokens: Ints1d, is_train: bool
) -> Tuple[Floats2d, Callable]:
    """The vector of each of some tokens, from its attributes and its context."""
    ops: Any = model.ops
    Ys, backprop_layer = model.layers[0](docs, is_train)
    Y = ops.flatten(Ys)
    if model.attrs["in_context"]:
        expected = model.get_ref("tok2vec").get_dim("nO")
        of_attributes = torch_shim(model).cfg["condition_width"] - expected
        check_width(Y.shape[1] - of_attributes, expected, name=model.name)
    rows = ops.asarray1i(tokens, dtype="int64")

    def backprop(d_condition: Floats2d) -> List[Doc]:
        dY = ops.alloc2f(sum(len(doc) for doc in docs), d_condition.shape[1])
        ops.scatter_add(dY, rows, d_condition)
        return backprop_layer(ops.unflatten(dY, [len(doc) for doc in docs]))

    return Y[rows], backprop


def _forms(docs: List[Doc], tokens: Ints1d) -> List[str]:
    ends = np.cumsum([len(doc) for doc in docs])
    places = np.asarray(tokens)
    forms = []
    for i, place in zip(np.searchsorted(ends, places, side="right").tolist(), places.tolist()):
        doc = docs[i]
        forms.append(doc[place - ends[i] + len(doc)].text)
    return forms


def _characters(words: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    chars, lengths = code_points(words, max_chars=max(map(len, words), default=0))
    return chars.astype("int64"), lengths
