"""From the characters of a word to those of another, such as its lemma."""

from functools import partial
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import KernelCellName
from .birnn import BiRNN
from .recurrent import States, run_kernel

# Stand for characters: before the first, after the last, and where a shorter word has none
START, END, PAD = -1, -2, -3
# Distances between a character of the output and one of the word that attention tells apart
REACH = 8
# Words that are decoded together
BATCH = 512
# Keeps the logarithm of a probability finite
TINY = 1e-8

# Which word, and which place in it, each row belongs to
Places = Tuple[Tensor, Tensor]
# `run_kernel` with the cell and the weights of the decoder
Kernel = Callable[..., Tuple[Tensor, States]]


class Source(NamedTuple):
    """Encoded words, padded to the longest.

    states (Tensor): Of the encoder, shape (words, longest, width).
    chars (Tensor): Code points, shape (words, longest).
    summary (Tensor): What every step of the decoder reads, shape (words, width).
    """

    states: Tensor
    chars: Tensor
    summary: Tensor

    def take(self, words: Tensor) -> "Source":
        return Source(self.states[words], self.chars[words], self.summary[words])


class Output(NamedTuple):
    """What was decoded: code points (None if it has no end), and its log-probability."""

    chars: Optional[List[int]]
    score: float


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

    @torch.no_grad()
    def search(
        self,
        condition: Tensor,
        chars: np.ndarray,
        lengths: np.ndarray,
        limits: np.ndarray,
        *,
        beam_width: int = 1,
    ) -> List[Output]:
        """The most probable output for each word, by beam search.

        limits (np.ndarray): The most characters that each word's output may have, shape (words,).
        beam_width (int): Beginnings that are kept at each step, at least 1. At 1 only the most
            probable character is followed.
        RETURNS (List[Output]): Of an output that is cut off at its limit, no characters.
        """
        if self.training:
            self.eval()
        by_word = np.split(chars, np.cumsum(lengths)[:-1])
        # Words of similar length together: little padding, and they end together
        order = np.argsort(lengths, kind="stable")
        found: List[Output] = []
        for words in np.split(order, range(BATCH, len(order), BATCH)):
            joined = np.concatenate([by_word[i] for i in words])
            chosen = torch.as_tensor(words, device=condition.device)
            source = self.encode(condition[chosen], joined, lengths[words])
            found += Beam(self, source, limits[words], beam_width).run()
        return [found[i] for i in np.argsort(order)]

    def step(
        self, before: Tensor, step: int, states: States, source: Source, kernel: Kernel
    ) -> Tuple[States, Tensor, Tensor]:
        """One step of the decoder for `beam` beginnings of each word.

        before (Tensor): The character before, shape (words, beam).
        step (int): How many characters there are before.
        states (States): The states after that, of words * beam rows; () at first.
        kernel (Kernel): The decoder, from `kernel`.
        RETURNS (Tuple): The new states, the probability of generating each character of the
            alphabet, shape (words, beam, alphabet), and of copying each one of the word, shape
            (words, beam, longest).
        """
        n_words, beam = before.shape
        words, slots = _places(np.full(n_words, beam), before.device)
        X = self._read(before.flatten(), source, words)  # (words * beam, input width)
        H, states = kernel(X, torch.tensor([len(X)], device="cpu"), states)
        steps = torch.full((beam,), step, device=before.device)
        # (words * beam, ...) -> (words, beam, ...)
        generated, copied = self._probabilities(
            H.unflatten(0, (n_words, beam)), source, steps, (words, slots)
        )
        return states, generated.unflatten(0, (n_words, beam)), copied.unflatten(0, (n_words, beam))

    def kernel(self) -> Kernel:
        """The decoder as PyTorch's own kernel, which can go on from a state."""
        layer: Any = self.decoder.layers[0]
        return partial(run_kernel, layer.cell, layer.torch_weights()[0])

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


class Beam:
    """The search for the outputs of a batch of words. A word leaves when no beginning of an output
    is more probable than the best whole output: it cannot become more probable by going on."""

    def __init__(self, model: CharSeq2Seq, source: Source, limits: np.ndarray, width: int):
        n_words, device = len(limits), source.chars.device
        self.model, self.source, self.width = model, source, width
        self.words = torch.arange(n_words, device=device)
        self.limits = torch.as_tensor(limits, device=device)
        self.best = source.states.new_full((n_words,), -np.inf)
        self.best_chars = source.chars.new_full((n_words, int(limits.max())), END)
        self.choices, self.place, self.legal = self._choices(source.chars)
        # Beginnings: their characters, log-probabilities and states
        self.chars = source.chars.new_full((n_words, width, 1), START)
        self.scores = source.states.new_full((n_words, width), -np.inf)
        self.scores[:, 0] = 0.0
        self.states: States = ()
        self.kernel = model.kernel()

    def _choices(self, chars: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """What can come next: the alphabet, and the characters of the word that are not in it.

        RETURNS (Tuple): The characters, shape (words, choices); which choice each character of the
            word is, shape (words, longest); and which choices there are, shape (words, choices).
        """
        alphabet = self.model.alphabet
        classes = self.model._classes(chars)
        # (words, longest, 1) == (words, 1, longest): where each character stands first
        first = (chars.unsqueeze(2) == chars.unsqueeze(1)).int().argmax(dim=2)
        place = torch.where(classes < 0, len(alphabet) + first, classes)
        own = len(alphabet) + torch.arange(chars.shape[1], device=chars.device)
        choices = torch.cat([alphabet.expand(len(chars), -1), chars], dim=1)
        of_alphabet = torch.ones_like(choices[:, : len(alphabet)], dtype=torch.bool)
        legal = torch.cat([of_alphabet, (place == own) & (chars != PAD)], dim=1)
        return choices, place, legal

    def run(self) -> List[Output]:
        """Search to the end."""
        for step in range(int(self.limits.max()) + 1):
            scores = self._extend(step)
            self._finish(scores[:, :, 0], step)
            scores[:, :, 0] = -np.inf
            self._select(scores)
            open_ = self.scores[:, 0] > self.best[self.words]
            # Cut off: what is found is less probable than what would have gone on
            self.best_chars[self.words[open_ & (self.limits == step)]] = PAD
            self._keep(open_ & (self.limits > step))
            if not len(self.words):
                break
        outputs = zip(self.best_chars.tolist(), self.best.tolist())
        return [
            Output(None if PAD in chars else [c for c in chars if c != END], score)
            for chars, score in outputs
        ]

    def _extend(self, step: int) -> Tensor:
        """The log-probability of every beginning with every next character, shape (words, beam,
        choices); END is the first."""
        self.states, generated, copied = self.model.step(
            self.chars[:, :, -1], step, self.states, self.source, self.kernel
        )
        missing = (0, self.choices.shape[1] - generated.shape[2])
        p = nn.functional.pad(generated, missing)
        # (words, longest) -> (words, beam, longest)
        p.scatter_add_(2, self.place.unsqueeze(1).expand_as(copied), copied)
        # (words, choices) -> (words, 1, choices)
        scores = (p + TINY).log_().masked_fill_(~self.legal.unsqueeze(1), -np.inf)
        return scores + self.scores.unsqueeze(2)  # (words, beam) -> (words, beam, 1)

    def _finish(self, ended: Tensor, step: int) -> None:
        """Keep the best of the outputs that end here."""
        score, which = ended.max(dim=1)
        better = (score > self.best[self.words]).nonzero().squeeze(1)
        words = self.words[better]
        self.best[words] = score[better]
        self.best_chars[words, :step] = self.chars[better, which[better], 1:]

    def _select(self, scores: Tensor) -> None:
        """Go on with the most probable beginnings; of equal ones the first."""
        flat = scores.flatten(1)  # (words, beam, choices) -> (words, beam * choices)
        if self.width == 1:
            self.scores, chosen = flat.max(dim=1, keepdim=True)
        else:
            ranked, places = flat.sort(dim=1, descending=True, stable=True)
            self.scores, chosen = ranked[:, : self.width], places[:, : self.width]
        beam = chosen // scores.shape[2]
        rows = torch.arange(len(beam), device=beam.device).unsqueeze(1)  # (words, 1)
        chars = self.choices.gather(1, chosen % scores.shape[2])
        self.chars = torch.cat([self.chars[rows, beam], chars.unsqueeze(2)], dim=2)
        self._take_states((rows * self.width + beam).flatten())  # (words * beam,)

    def _keep(self, words: Tensor) -> None:
        """Leave out the words that are done."""
        if words.all():
            return
        self.source = self.source.take(words)
        self._take_states(words.repeat_interleave(self.width).nonzero().squeeze(1))
        for name in ("words", "limits", "choices", "place", "legal", "chars", "scores"):
            setattr(self, name, getattr(self, name)[words])

    def _take_states(self, rows: Tensor) -> None:
        self.states = tuple(part[:, rows] for part in self.states)


def _places(lengths: np.ndarray, device: torch.device) -> Places:
    words = np.repeat(np.arange(len(lengths), dtype="int64"), lengths)
    steps = np.arange(len(words)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return torch.as_tensor(words, device=device), torch.as_tensor(steps, device=device)


def _pad(rows: Tensor, places: Places, longest: int) -> Tensor:
    """Flat rows as an array of shape (words, longest, ...), with 0 where there is no row."""
    n_words = int(places[0][-1]) + 1
    padded = rows.new_zeros((n_words, longest, *rows.shape[1:]))
    return padded.index_put(places, rows)
