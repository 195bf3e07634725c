"""The character encoder."""

from typing import Callable, List, Optional, Tuple

from thinc.api import Model
from thinc.types import Floats2d

from ..checks import CELLS, check_choice, check_positive, check_rate
from .features import Words, WordsToVectors, by_word, code_points
from .torch_wrapper import RECURRENT_RATE, TorchShim, run_module, torch_shim
from .types import DocsToVectors


def build_char_rnn(
    *,
    width: int = 64,
    char_width: int = 32,
    rows: int = 1024,
    cell: str = "lstm",
    max_chars: int = 32,
    dropout: Optional[float] = None,
) -> DocsToVectors:
    """A vector for each token from its characters, read forward and backward by a recurrent layer
    (see `layers.chars.CharRNN`). It has no vocabulary: any character has a row, so none is unknown.
    Each distinct word of a batch is encoded once, and at prediction on a CPU its vector is kept
    until the weights change.

    width (int): Width of the output, half of it from each direction; even. Recommended: 32 to 128.
    char_width (int): Width of a character's embedding. Recommended: 16 to 64.
    rows (int): Rows of the character table; a character's row is its code point modulo `rows`.
        Recommended: 256 to 8192, more for large scripts.
    cell (str): "rnn", "gru", "lstm", "peephole_lstm" or "grid_lstm".
    max_chars (int): Of a longer word only the beginning and the end are read, half of max_chars
        each. Recommended: 20 to 50.
    dropout (Optional[float]): Dropout on the characters' embeddings. null follows [training]
        dropout. Recommended: 0.2 to 0.5.
    """
    where = "spacy-birnn.CharRNN.v1"
    settings = {"width": width, "char_width": char_width, "rows": rows, "max_chars": max_chars}
    for name, value in settings.items():
        check_positive(name, value, where=where, even=name == "width")
    check_choice("cell", cell, CELLS, where=where)
    check_rate("dropout", dropout, where=where, or_null=True)
    module_settings = {
        "rows": rows,
        "char_width": char_width,
        "hidden_width": width // 2,
        "cell": cell,
        "dropout": dropout,
    }
    encoder: WordsToVectors = Model(
        "char_rnn",
        _forward,
        init=_init,
        attrs={"rows": rows, "max_chars": max_chars, "dropout_rate": 0.0},
        dims={"nO": width},
        shims=[TorchShim("char_rnn", "chars.CharRNN", module_settings, rate_scale=RECURRENT_RATE)],
    )
    return by_word(encoder)


def _init(model: WordsToVectors, X=None, Y=None) -> None:
    torch_shim(model).build()


def _forward(model: WordsToVectors, words: Words, is_train: bool) -> Tuple[Floats2d, Callable]:
    chars, lengths = code_points(words.texts, max_chars=model.attrs["max_chars"])
    rows = model.ops.xp.asarray((chars % model.attrs["rows"]).astype("int64"))
    Y, backprop_module = run_module(model, rows, lengths, is_train=is_train)

    def backprop(dY: Floats2d) -> List:
        backprop_module(dY)
        return []

    return Y, backprop
