"""From the characters of a word to those of another, such as its lemma."""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..beam import END, PAD, START, TINY
from ..checks import KernelCellName
from .birnn import BiRNN

# Distances between a character of the output and one of the word that attention tells apart
REACH = 8

# Which word, and which place in it, each row belongs to
Places = Tuple[Tensor, Tensor]


class Source(NamedTuple):
    """Encoded words, padded to the longest.

    states (Tensor): Of the encoder, shape (words, longest, width).
    chars (Tensor): Code points, shape (words, longest).
    summary (Tensor): What every step of the decoder reads, shape (words, width).
    """

    states: Tensor
    chars: Tensor
    summary: Tensor


class CharSeq2Seq(nn.Module):
    """A character encoder-decoder (Sutskever et al. 2014, https://arxiv.org/abs/1409.3215). A
    recurrent layer reads the word in both directions, x_1 .. x_n -> s_1 .. s_n. Another writes:

        c = tanh(W [final state; condition])            h_t = cell([embed(y_{t-1}); c], h_{t-1})
        a_ti = softmax_i(h_t W_a s_i + b_{i-t})          m_t = tanh(W_m [h_t; sum_i a_ti s_i])
        p(y_t) = (1 - g_t) softmax(W_o m_t)[y_t] + g_t sum_{i: x_i = y_t} a_ti
        g_t = sigmoid(w_g m_t)

    (attention: Luong et al. 2015, https://arxiv.org/abs/1508.04025; copying: See et al. 2017,
    https://arxiv.org/abs/1704.04368). h_t does not depend on the attention at earlier steps, so in
    training the recurrence and the attention run over all steps at once. The bias b of a distance
    starts so that character t is copied to place t: untrained, the output resembles the word.

    Each character of the alphabet has an embedding of its own. All others share `rows` of them, by
    their code points modulo `rows`: none is taken for one of the alphabet. Characters are copied
    whether they are in the alphabet or not. Only those of the alphabet can be written where the
    word does not have them.

    condition_width (int): Width of the vector that comes with each word, at least 0.
    alphabet (List[int]): Distinct code points that can be generated.
    rows (int): Embeddings of characters that are not in the alphabet. Recommended: 256 to 8192,
        more for large scripts.
    char_width (int): Width of a character's embedding. Recommended: 32 to 128.
    width (int): Width of the states, half of it from each direction of the encoder; even.
        Recommended: 64 to 256.
    depth (int): Number of layers of the encoder. Recommended: 1 or 2.
    cell (str): "rnn", "gru" or "lstm".
    attention (bool): Without attention the decoder knows the word by c alone and cannot copy.
    dropout (Optional[float]): Dropout on what encoder and decoder read and put out. None follows
        the rate given to `forward`.
    """

    alphabet: Tensor

    def __init__(
        self,
        condition_width: int,
        alphabet: List[int],
        *,
        rows: int,
        char_width: int,
        width: int,
        depth: int = 1,
        cell: KernelCellName = "gru",
        attention: bool = True,
        dropout: Optional[float] = None,
    ):
        super().__init__()
        self.rows = rows
        self.attention = attention
        chars = torch.tensor([END, *sorted(alphabet)])
        self.register_buffer("alphabet", chars, persistent=False)
        self.embed = nn.Embedding(len(chars) + rows, char_width)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        self.encoder = BiRNN(
            char_width, width // 2, cell=cell, depth=depth, dropout=dropout, locked_dropout=dropout
        )
        self.summarize = nn.Linear(width + condition_width, width)
        self.decoder = BiRNN(
            char_width + width, width, cell=cell, direction="forward", locked_dropout=dropout
        )
        self.generate = nn.Linear(width, len(chars))
        if attention:
            self.query = nn.Linear(width, width, bias=False)
            self.mix = nn.Linear(2 * width, width)
            self.copy = nn.Linear(width, 1)
            nn.init.constant_(self.copy.bias, 2.0)
            distances = torch.arange(-REACH, REACH + 1)
            self.distance_bias = nn.Parameter(-2.0 * distances.abs())  # (2 * REACH + 1,)

    def forward(
        self,
        condition: Tensor,
        chars: np.ndarray,
        lengths: np.ndarray,
        targets: np.ndarray,
        target_lengths: np.ndarray,
        drop: float = 0.0,
    ) -> Tensor:
        """The log-probability of an output for each word.

        condition (Tensor): A vector for each word, shape (words, condition_width).
        chars (np.ndarray): The words' code points, one word after the other, int64, shape
            (sum(lengths),).
        lengths (np.ndarray): Number of characters of each word, shape (words,), each >= 1.
        targets (np.ndarray), target_lengths (np.ndarray): The same of the outputs.
        drop (float): Dropout rate where the layer has none of its own. Used in training only.
        RETURNS (Tensor): Shape (words,).
        """
        source = self.encode(condition, chars, lengths, drop)
        device = condition.device
        words, steps = places = _places(target_lengths + 1, device)
        last = torch.as_tensor(np.cumsum(target_lengths + 1) - 1, device=device)
        gold = torch.full_like(words, END)
        inner = torch.ones_like(words, dtype=torch.bool)
        inner[last] = False
        gold[inner] = torch.as_tensor(targets, device=device)
        before = torch.where(steps == 0, START, gold.roll(1))
        H, _ = self.decoder(self._read(before, source, words), target_lengths + 1, drop)
        n_steps = int(target_lengths.max()) + 1
        generated, copied = self._probabilities(
            _pad(H, places, n_steps), source, torch.arange(n_steps, device=device), places
        )
        classes = self._classes(gold)
        # (rows,) -> (rows, 1) and back, to pick one of (rows, alphabet)
        p = generated.gather(1, classes.clamp(min=0).unsqueeze(1)).squeeze(1) * (classes >= 0)
        # (rows, longest) == (rows, 1) -> (rows, longest)
        p = p + (copied * (source.chars[words] == gold.unsqueeze(1))).sum(1)
        return H.new_zeros(len(lengths)).index_add(0, words, (p + TINY).log())

    def encode(
        self, condition: Tensor, chars: np.ndarray, lengths: np.ndarray, drop: float = 0.0
    ) -> Source:
        """Read words; see `forward`."""
        flat = torch.as_tensor(chars, device=condition.device)
        states, final = self.encoder(self._embed(flat), lengths, drop)
        summary = torch.tanh(self.summarize(torch.cat([final, condition], dim=1)))
        places = _places(lengths, condition.device)
        longest = int(lengths.max())
        padded = _pad(flat - PAD, places, longest) + PAD
        return Source(_pad(states, places, longest), padded, summary)

    def _read(self, before: Tensor, source: Source, words: Tensor) -> Tensor:
        return torch.cat([self._embed(before), source.summary[words]], dim=1)

    def _embed(self, chars: Tensor) -> Tensor:
        # The place of END, which is never read, is that of START
        places = self._classes(torch.where(chars == START, END, chars))
        return self.embed(torch.where(places < 0, len(self.alphabet) + chars % self.rows, places))

    def _classes(self, chars: Tensor) -> Tensor:
        """The place of each character in the alphabet, -1 if it is not there."""
        places = torch.searchsorted(self.alphabet, chars).clamp(max=len(self.alphabet) - 1)
        return torch.where(self.alphabet[places] == chars, places, -1)

    def _probabilities(
        self, H: Tensor, source: Source, steps: Tensor, places: Places
    ) -> Tuple[Tensor, Tensor]:
        """The probabilities of generating and of copying, for the rows at some places.

        H (Tensor): The decoder's states, shape (words, columns, width).
        steps (Tensor): How many characters were written before each column, shape (columns,).
        RETURNS (Tuple[Tensor, Tensor]): Shapes (rows, alphabet) and (rows, longest).
        """
        if not self.attention:
            generated = self.generate(H[places]).softmax(dim=1)
            return generated, generated.new_zeros((len(generated), source.chars.shape[1]))
        # (longest,) - (columns, 1) -> (columns, longest)
        distances = torch.arange(source.chars.shape[1], device=H.device) - steps.unsqueeze(1)
        # (words, columns, width) @ (words, width, longest) -> (words, columns, longest)
        scores = torch.bmm(self.query(H), source.states.transpose(1, 2))
        scores = scores + self.distance_bias[distances.clamp(-REACH, REACH) + REACH]
        # (words, longest) -> (words, 1, longest)
        weights = scores.masked_fill((source.chars == PAD).unsqueeze(1), -np.inf).softmax(dim=2)
        context = torch.bmm(weights, source.states)
        # (words, columns, 2 * width) -> (rows, 2 * width)
        mixed = torch.tanh(self.mix(torch.cat([H, context], dim=2)[places]))
        gate = torch.sigmoid(self.copy(mixed))
        return self.generate(mixed).softmax(dim=1) * (1 - gate), weights[places] * gate


def _places(lengths: np.ndarray, device: torch.device) -> Places:
    words = np.repeat(np.arange(len(lengths), dtype="int64"), lengths)
    steps = np.arange(len(words)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return torch.as_tensor(words, device=device), torch.as_tensor(steps, device=device)


def _pad(rows: Tensor, places: Places, longest: int) -> Tensor:
    """Flat rows as an array of shape (words, longest, ...), with 0 where there is no row."""
    n_words = int(places[0][-1]) + 1
    padded = rows.new_zeros((n_words, longest, *rows.shape[1:]))
    return padded.index_put(places, rows)
