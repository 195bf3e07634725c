"""A plain BiLSTM-CRF (Lample et al. 2016), to measure our entity recognizer against: a network of
its own with a vocabulary and a training loop of its own, on the layers of this package.

A token is its word (digits as 0), the case of it, and a BiLSTM over its characters. A BiLSTM reads
the tokens, and a linear layer and a chain of BILUO tags decide. In training, 0.3 of the words are
hidden, and half of those that the training data has once. What is evaluated is the moving average
of the weights.
"""

import copy
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import spacy
import torch
import typer
from common import write_json
from recorder import Recorder
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from torch import Tensor, nn

from spacy_birnn import crf
from spacy_birnn.layers.birnn import BiRNN
from spacy_birnn.layers.dropout import locked_dropout
from spacy_birnn.pipeline.labels import EntitySpan, Scheme

WORD_WIDTH, CASE_WIDTH, CHAR_WIDTH, CHAR_HIDDEN, HIDDEN = 100, 16, 30, 25, 100
CHAR_ROWS, MAX_CHARS = 512, 40
DROPOUT, HIDE_WORDS, HIDE_RARE = 0.5, 0.3, 0.5
BATCH_SIZE, LEARN_RATE, MAX_NORM, AVERAGE = 16, 0.001, 5.0, 0.995
EPOCHS, PATIENCE = 30, 8
UNKNOWN = 0
N_CASES = 6

Entity = tuple[int, int, str]


@dataclass
class Sentence:
    """The words of a sentence and its entities: start, end (exclusive) and label."""

    words: list[str]
    ents: set[Entity]


def read(path: Path) -> list[Sentence]:
    """The sentences of a .spacy file, one a document."""
    docs: Iterator[Doc] = DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    return [
        Sentence([t.text for t in doc], {(e.start, e.end, e.label_) for e in doc.ents})
        for doc in docs
        if len(doc)
    ]


def normalize(word: str) -> str:
    """The form under which a word has its vector."""
    return re.sub(r"\d", "0", word)


def case_of(word: str) -> int:
    """Lower, upper, title or mixed case, with digits, or other."""
    tests = [word.islower(), word.isupper(), word[0].isupper()]
    tests += [any(c.isupper() for c in word), any(c.isdigit() for c in word), True]
    return tests.index(True)


class Words:
    """The words that have vectors: those of the training part and, with pretrained vectors, those
    of all parts for which there is one.

    parts (list[list[Sentence]]): The parts of the corpus, train first.
    vocab (Vocab): The vocabulary with the pretrained vectors, if any.
    """

    def __init__(self, parts: list[list[Sentence]], vocab: Vocab):
        counts = Counter(normalize(w) for sentence in parts[0] for w in sentence.words)
        every = {normalize(w) for part in parts for sentence in part for w in sentence.words}
        pretrained = {word: self._vector(word, vocab) for word in every}
        words = sorted(w for w in every if w in counts or pretrained[w] is not None)
        self.rows = {word: row for row, word in enumerate(words, start=UNKNOWN + 1)}
        self.width = vocab.vectors_length or WORD_WIDTH
        self.rare = np.array([False, *(counts[w] == 1 and pretrained[w] is None for w in words)])
        self.vectors = {self.rows[w]: pretrained[w] for w in words if pretrained[w] is not None}

    @staticmethod
    def _vector(word: str, vocab: Vocab) -> np.ndarray | None:
        """The vector of the form, or else of its lower case."""
        forms = [form for form in (word, word.lower()) if vocab.has_vector(form)]
        return vocab.get_vector(forms[0]) if forms else None

    def rows_of(self, words: list[str]) -> np.ndarray:
        return np.array([self.rows.get(normalize(word), UNKNOWN) for word in words])


class Network(nn.Module):
    """Words to the scores of their tags. The scores of the chain are parameters beside it."""

    def __init__(self, words: Words, n_tags: int):
        super().__init__()
        self.words = words
        self.word_table = _table(len(words.rows) + 1, words.width)
        for row, vector in words.vectors.items():
            self.word_table.weight.data[row] = torch.from_numpy(vector)
        self.case_table = nn.Embedding(N_CASES, CASE_WIDTH)
        self.char_table = _table(CHAR_ROWS, CHAR_WIDTH)
        self.chars = BiRNN(CHAR_WIDTH, CHAR_HIDDEN, locked_dropout=0.0)
        embedded = words.width + CASE_WIDTH + self.chars.output_width
        self.encoder = BiRNN(embedded, HIDDEN, locked_dropout=0.0)
        self.head = nn.Linear(self.encoder.output_width, n_tags)
        self.transitions = nn.Parameter(torch.zeros(n_tags, n_tags))
        self.start = nn.Parameter(torch.zeros(n_tags))
        self.end = nn.Parameter(torch.zeros(n_tags))

    def forward(self, batch: list[Sentence]) -> Tensor:
        """RETURNS (Tensor): Emissions, shape (tokens, tags)."""
        words = [word for sentence in batch for word in sentence.words]
        lengths = lengths_of(batch)
        rows = self.words.rows_of(words)
        if self.training:
            rare = self.words.rare[rows] & (np.random.rand(len(rows)) < HIDE_RARE)
            rows[rare | (np.random.rand(len(rows)) < HIDE_WORDS)] = UNKNOWN
        cases = torch.tensor([case_of(word) for word in words])
        parts = [self.word_table(torch.from_numpy(rows)), self._read_chars(words)]
        X = torch.cat([*parts, self.case_table(cases)], dim=1)
        X, _ = self.encoder(self._drop(X, lengths), lengths)
        return self.head(self._drop(X, lengths))

    def _read_chars(self, words: list[str]) -> Tensor:
        """Each distinct word is read once."""
        distinct, inverse = np.unique(words, return_inverse=True)
        codes = [ord(char) % CHAR_ROWS for word in distinct for char in word[:MAX_CHARS]]
        X = nn.functional.dropout(self.char_table(torch.tensor(codes)), DROPOUT, self.training)
        lengths = np.array([min(len(word), MAX_CHARS) for word in distinct])
        return self.chars(X, lengths)[1][torch.from_numpy(inverse)]

    def _drop(self, X: Tensor, lengths: np.ndarray) -> Tensor:
        return locked_dropout(X, torch.from_numpy(lengths), DROPOUT if self.training else 0.0)


def _table(rows: int, width: int) -> nn.Embedding:
    """With values from -sqrt(3 / width) to sqrt(3 / width), so that a vector has length 1."""
    table = nn.Embedding(rows, width)
    nn.init.uniform_(table.weight, -math.sqrt(3 / width), math.sqrt(3 / width))
    return table


def lengths_of(batch: list[Sentence]) -> np.ndarray:
    return np.array([len(sentence.words) for sentence in batch])


class Tagger:
    """The network with its labels, its optimizer and the average of its weights."""

    def __init__(self, words: Words, labels: list[str]):
        self.labels = labels
        self.scheme = Scheme("BILUO", len(labels))
        self.net = Network(words, self.scheme.n_tags)
        self.average = copy.deepcopy(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LEARN_RATE)
        self.steps = 0

    def update(self, batch: list[Sentence]) -> None:
        """One step on the mean negative log-likelihood of a batch."""
        net = self.net.train()
        emissions = net(batch)
        gold = np.concatenate([self._gold(sentence) for sentence in batch])
        _, gradient = crf.loss(self._scores(net, emissions, batch), gold)
        self.optimizer.zero_grad()
        emissions.backward(torch.from_numpy(gradient.emissions) / len(batch))
        for parameter, part in zip((net.transitions, net.start, net.end), gradient.chain):
            parameter.grad = torch.from_numpy(part) / len(batch)
        nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM)
        self.optimizer.step()
        self.steps += 1
        keep = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for own, current in zip(self.average.parameters(), net.parameters()):
                own.lerp_(current, 1 - keep)

    def predict(self, sentences: list[Sentence]) -> Iterator[tuple[Sentence, set[Entity]]]:
        """The entities of the best sequence of tags, by the average of the weights. Sentences of
        like length are read together."""
        net = self.average.eval()
        ordered = sorted(sentences, key=lambda sentence: len(sentence.words))
        for i in range(0, len(ordered), 128):
            batch = ordered[i : i + 128]
            with torch.no_grad():
                tags = crf.viterbi(self._scores(net, net(batch), batch))
            for sentence, found in zip(batch, np.split(tags, lengths_of(batch).cumsum()[:-1])):
                spans = self.scheme.decode(found)
                yield sentence, {(s.start, s.end, self.labels[s.label]) for s in spans}

    def evaluate(self, sentences: list[Sentence]) -> dict[str, float]:
        """Precision, recall and F1, by the names that spaCy gives them."""
        right = found = expected = 0
        for sentence, ents in self.predict(sentences):
            right += len(ents & sentence.ents)
            found += len(ents)
            expected += len(sentence.ents)
        return {
            "ents_p": right / max(1, found),
            "ents_r": right / max(1, expected),
            "ents_f": 2 * right / max(1, found + expected),
        }

    def _scores(self, net: Network, emissions: Tensor, batch: list[Sentence]) -> crf.SequenceScores:
        parts = (emissions, net.transitions, net.start, net.end)
        arrays = [part.detach().numpy() for part in parts]
        scores = crf.SequenceScores(arrays[0], lengths_of(batch), *arrays[1:])
        return scores.constrained(self.scheme.legal())

    def _gold(self, sentence: Sentence) -> np.ndarray:
        index = {label: i for i, label in enumerate(self.labels)}
        spans = [EntitySpan(start, end, index[label]) for start, end, label in sentence.ents]
        outside = np.ones(len(sentence.words), dtype=bool)
        for span in spans:
            outside[span.start : span.end] = False
        return self.scheme.mask(len(outside), spans, outside)


def batches(sentences: list[Sentence]) -> list[list[Sentence]]:
    """Batches of sentences of like length, in random order."""
    ordered = sorted(sentences, key=lambda s: (len(s.words) // 4, random.random()))
    made = [ordered[i : i + BATCH_SIZE] for i in range(0, len(ordered), BATCH_SIZE)]
    random.shuffle(made)
    return made


def main(
    train: Path,
    dev: Path,
    test: Path,
    out: Path,
    seed: int = 0,
    epochs: int = EPOCHS,
    max_steps: Annotated[int, typer.Option(help="Stop early; 0: after the last epoch")] = 0,
    vectors: Annotated[Path | None, typer.Option(help="What `spacy init vectors` wrote")] = None,
    threads: int = 1,
) -> None:
    """Train on TRAIN, keep what is best on DEV, evaluate it on TEST, and write OUT/run.json."""
    torch.set_num_threads(threads)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    recorder = Recorder()
    parts = [read(path) for path in (train, dev, test)]
    words = Words(parts, spacy.load(vectors).vocab if vectors is not None else Vocab())
    tagger = Tagger(words, sorted({label for s in parts[0] for *_, label in s.ents}))
    best, best_net, since = -1.0, tagger.average, 0
    for epoch in range(epochs):
        recorder.start()
        for batch in batches(parts[0]):
            tagger.update(batch)
            if tagger.steps == max_steps:
                break
        recorder.stop()
        scores = tagger.evaluate(parts[1])
        recorder.add(step=tagger.steps, epoch=epoch, score=scores["ents_f"], scores=scores)
        since += 1
        if scores["ents_f"] > best:
            best, best_net, since = scores["ents_f"], copy.deepcopy(tagger.average), 0
        if since == PATIENCE or tagger.steps == max_steps:
            break
    tagger.average = best_net
    found = {name: tagger.evaluate(part) for name, part in zip(("dev", "test"), parts[1:])}
    seconds = {"train": round(recorder.wall, 3)}
    write_json(out / "run.json", {**found, "seconds": seconds, "curve": recorder.curve})


if __name__ == "__main__":
    typer.run(main)
