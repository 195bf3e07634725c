"""Words as sequences of characters."""

from typing import Optional

import numpy as np
from torch import Tensor, nn

from ..checks import CellName
from .birnn import BiRNN


class CharRNN(nn.Module):
    """A word's vector from its characters (Ling et al. 2015, https://arxiv.org/abs/1508.02096;
    Lample et al. 2016): each character is embedded, a recurrent layer reads the word in both
    directions, and the two final states stand side by side.

    rows (int): Rows of the character table, at least 1.
    char_width (int): Width of a character's embedding. Recommended: 16 to 64.
    hidden_width (int): Width of one direction's state. Recommended: 16 to 64.
    cell (str): As in `BiRNN`.
    dropout (Optional[float]): Dropout on the characters' embeddings, 0 <= rate < 1. None follows
        the rate given to `forward`.
    """

    def __init__(
        self,
        rows: int,
        char_width: int,
        hidden_width: int,
        *,
        cell: CellName = "lstm",
        dropout: Optional[float] = None,
    ):
        super().__init__()
        self.dropout = dropout
        self.embed = nn.Embedding(rows, char_width)
        # Of length 1 on average: smaller ones the layer above hardly sees at first
        bound = (3 / char_width) ** 0.5
        nn.init.uniform_(self.embed.weight, -bound, bound)
        self.rnn = BiRNN(char_width, hidden_width, cell=cell, locked_dropout=0.0)

    def forward(self, chars: Tensor, lengths: np.ndarray, drop: float = 0.0) -> Tensor:
        """Encode a batch of words.

        chars (Tensor): The characters of all words, one after the other, as row numbers of the
            table, int64, shape (sum(lengths),).
        lengths (np.ndarray): Number of characters of each word, shape (words,), each >= 0.
        drop (float): Dropout rate where the layer sets none of its own. Used in training only.
        RETURNS (Tensor): Shape (words, 2 * hidden_width).
        """
        rate = drop if self.dropout is None else self.dropout
        X = nn.functional.dropout(self.embed(chars), rate, training=self.training and rate > 0)
        return self.rnn(X, lengths)[1]
