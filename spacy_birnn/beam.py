"""The search for the most probable output of a character encoder-decoder, such as a lemma:
functions of arrays, as in `crf`. The network is `layers.seq2seq.CharSeq2Seq`, compiled."""

from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Tuple

import numpy as np

# Stand for characters: before the first, after the last, and where a shorter word has none
START, END, PAD = -1, -2, -3
# Words that are decoded together
BATCH = 512
# Keeps the logarithm of a probability finite
TINY = 1e-8

# The arrays of the recurrent states by their names, each with a row for each beginning
States = Dict[str, np.ndarray]


class Source(NamedTuple):
    """Encoded words, padded to the longest.

    states (np.ndarray): Of the encoder, shape (words, longest, width).
    chars (np.ndarray): Code points, int64, shape (words, longest).
    summary (np.ndarray): What every step of the decoder reads, shape (words, width).
    """

    states: np.ndarray
    chars: np.ndarray
    summary: np.ndarray

    def take(self, words: np.ndarray) -> "Source":
        return Source(self.states[words], self.chars[words], self.summary[words])


class Output(NamedTuple):
    """What was decoded: code points (None if it has no end), and its log-probability."""

    chars: Optional[List[int]]
    score: float


class Decoder(Protocol):
    """A network that can be searched.

    alphabet (np.ndarray): END and the code points that it can generate, rising, int64.
    """

    alphabet: np.ndarray

    def encode(self, condition: np.ndarray, chars: np.ndarray, lengths: np.ndarray) -> Source:
        """Read words, for the arguments see `search`."""

    def step(
        self, before: np.ndarray, step: int, states: States, source: Source
    ) -> Tuple[States, np.ndarray, np.ndarray]:
        """One step for some beginnings of each word.

        before (np.ndarray): The character before, int64, shape (words, beam).
        step (int): How many characters there are before.
        states (States): The states after that, of words * beam rows; {} at first.
        source (Source): The words.
        RETURNS (Tuple): The new states, the probability of generating each character of the
            alphabet, shape (words, beam, alphabet), and of copying each one of the word, shape
            (words, beam, longest).
        """


def search(
    decoder: Decoder,
    condition: np.ndarray,
    chars: np.ndarray,
    lengths: np.ndarray,
    limits: np.ndarray,
    *,
    beam_width: int = 1,
) -> List[Output]:
    """The most probable output for each word, by beam search.

    condition (np.ndarray): A vector for each word, shape (words, condition_width).
    chars (np.ndarray): The words' code points, one word after the other, int64, shape
        (sum(lengths),).
    lengths (np.ndarray): Number of characters of each word, int64, shape (words,), each >= 1.
    limits (np.ndarray): The most characters that each word's output may have, shape (words,).
    beam_width (int): Beginnings that are kept at each step, at least 1. At 1 only the most probable
        character is followed.
    RETURNS (List[Output]): Of an output that is cut off at its limit, no characters.
    """
    by_word = np.split(chars, np.cumsum(lengths)[:-1])
    # Words of similar length together: little padding, and they end together
    order = np.argsort(lengths, kind="stable")
    found: List[Output] = []
    for words in np.split(order, range(BATCH, len(order), BATCH)):
        joined = np.concatenate([by_word[i] for i in words])
        source = decoder.encode(condition[words], joined, lengths[words])
        found += Beam(decoder, source, limits[words], beam_width).run()
    return [found[i] for i in np.argsort(order)]


def classes(alphabet: np.ndarray, chars: np.ndarray) -> np.ndarray:
    """The place of each character in an alphabet, -1 if it is not there."""
    places = np.minimum(np.searchsorted(alphabet, chars), len(alphabet) - 1)
    return np.where(alphabet[places] == chars, places, -1)


class Beam:
    """The search for the outputs of a batch of words. A word leaves when no beginning of an output
    is more probable than the best whole output: it cannot become more probable by going on."""

    def __init__(self, decoder: Decoder, source: Source, limits: np.ndarray, width: int):
        n_words = len(limits)
        self.decoder, self.source, self.width = decoder, source, width
        self.words = np.arange(n_words)
        self.limits = limits
        self.best = np.full(n_words, -np.inf, dtype="float32")
        self.best_chars = np.full((n_words, int(limits.max())), END)
        self.choices, self.place, self.legal = self._choices(source.chars)
        # Beginnings: their characters, log-probabilities and states
        self.chars = np.full((n_words, width, 1), START)
        self.scores = np.full((n_words, width), -np.inf, dtype="float32")
        self.scores[:, 0] = 0.0
        self.states: States = {}

    def _choices(self, chars: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What can come next: the alphabet, and the characters of the word that are not in it.

        RETURNS (Tuple): The characters, shape (words, choices); which choice each character of the
            word is, shape (words, longest); and which choices there are, shape (words, choices).
        """
        alphabet = self.decoder.alphabet
        places = classes(alphabet, chars)
        # (words, longest, 1) == (words, 1, longest): where each character stands first
        first = (chars[:, :, None] == chars[:, None]).argmax(axis=2)
        place = np.where(places < 0, len(alphabet) + first, places)
        own = len(alphabet) + np.arange(chars.shape[1])
        of_alphabet = np.broadcast_to(alphabet, (len(chars), len(alphabet)))
        choices = np.concatenate([of_alphabet, chars], axis=1)
        legal = np.ones(choices.shape, dtype=bool)
        legal[:, len(alphabet) :] = (place == own) & (chars != PAD)
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

    def _extend(self, step: int) -> np.ndarray:
        """The log-probability of every beginning with every next character, shape (words, beam,
        choices); END is the first."""
        before = self.chars[:, :, -1]
        self.states, generated, copied = self.decoder.step(before, step, self.states, self.source)
        n_words, beam, n_generated = generated.shape
        p = np.zeros((n_words, beam, self.choices.shape[1]), dtype="float32")
        p[:, :, :n_generated] = generated
        # A word may have a character in several places
        places: Any = (np.arange(n_words)[:, None], slice(None), self.place)
        np.add.at(p, places, copied.transpose(0, 2, 1))
        scores = np.where(self.legal[:, None], np.log(p + np.float32(TINY)), np.float32(-np.inf))
        return scores + self.scores[:, :, None]

    def _finish(self, ended: np.ndarray, step: int) -> None:
        """Keep the best of the outputs that end here."""
        which = ended.argmax(axis=1)
        score = ended[np.arange(len(ended)), which]
        (better,) = np.nonzero(score > self.best[self.words])
        words = self.words[better]
        self.best[words] = score[better]
        self.best_chars[words, :step] = self.chars[better, which[better], 1:]

    def _select(self, scores: np.ndarray) -> None:
        """Go on with the most probable beginnings; of equal ones the first."""
        n_words, _, n_choices = scores.shape
        flat = scores.reshape(n_words, -1)
        rows = np.arange(n_words)[:, None]
        if self.width == 1:
            chosen = flat.argmax(axis=1)[:, None]
        else:
            chosen = np.argsort(-flat, axis=1, kind="stable")[:, : self.width]
        self.scores = flat[rows, chosen]
        beam, choice = np.divmod(chosen, n_choices)
        chars = self.choices[rows, choice]
        self.chars = np.concatenate([self.chars[rows, beam], chars[:, :, None]], axis=2)
        if self.width > 1:
            self._take_states((rows * self.width + beam).ravel())

    def _keep(self, words: np.ndarray) -> None:
        """Leave out the words that are done."""
        if words.all():
            return
        self.source = self.source.take(words)
        self._take_states(np.flatnonzero(np.repeat(words, self.width)))
        for name in ("words", "limits", "choices", "place", "legal", "chars", "scores"):
            setattr(self, name, getattr(self, name)[words])

    def _take_states(self, rows: np.ndarray) -> None:
        self.states = {name: part[rows] for name, part in self.states.items()}
