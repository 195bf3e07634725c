from itertools import product

import numpy as np
import pytest
import torch
from spacy_birnn.layers.seq2seq import CharSeq2Seq

WORDS = ["ba", "abcab", "x", "axa", "yy", "bbbbbbbbbb"]


def code_points(words):
    chars = np.array([ord(c) for word in words for c in word], dtype="int64")
    return chars, np.array([len(word) for word in words], dtype="int64")


def make(alphabet="ab", seed=0, scale=1.0, **settings):
    torch.manual_seed(seed)
    defaults = {"rows": 50, "char_width": 6, "width": 8, "cell": "gru"}
    model = CharSeq2Seq(3, [ord(c) for c in alphabet], **{**defaults, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn_like(parameter)
    return model.eval()


def conditions(words):
    """Each word's own, whatever words it comes with."""
    return torch.tensor([[len(word), ord(word[0]) % 7, 1.0] for word in words]) / 10


def log_p(model, words, targets):
    with torch.no_grad():
        return model(conditions(words), *code_points(words), *code_points(targets)).numpy()


def search(model, words, limit, beam_width=1):
    limits = np.full(len(words), limit)
    found = model.search(conditions(words), *code_points(words), limits, beam_width=beam_width)
    texts = [None if out.chars is None else "".join(map(chr, out.chars)) for out in found]
    return texts, [out.score for out in found]


def by_hand(model, word, target):
    """The formula of the docstring, one character at a time."""
    memory, final = model.encoder(model.embed(1 + torch.tensor([ord(c) % 50 for c in word])), [])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("attention", [True, False])
def test_the_probabilities_of_all_outputs_sum_to_one(cell, attention):
    """Those of up to three characters, and those of the beginnings that go on."""
    model = make(cell=cell, attention=attention, scale=0.3)
    letters = "abx" if attention else "ab"
    outputs = ["".join(chars) for n in range(5) for chars in product(letters, repeat=n)]
    p = np.exp(log_p(model, ["axa"] * len(outputs), outputs))
    whole = {output: value for output, value in zip(outputs, p)}
    shortest = [sum(v for k, v in whole.items() if len(k) == n) for n in range(5)]
    assert 0.05 < sum(shortest) < 1
    # One character more takes from what is left
    assert np.all(np.diff(np.cumsum(shortest)) > 0)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_finds_the_most_probable_output(cell, attention, seed):
    """Against the probability of every output of up to four characters."""
    model = make(cell=cell, attention=attention, seed=seed)
    for word in ["ba", "xa", "xyx"]:
        letters = sorted({*"ab", *word}) if attention else "ab"
        outputs = ["".join(chars) for n in range(5) for chars in product(letters, repeat=n)]
        p = log_p(model, [word] * len(outputs), outputs)
        (found,), (score,) = search(model, [word], limit=4, beam_width=len(letters) ** 4)
        if found is not None:
            assert found == outputs[int(p.argmax())]
            assert score == pytest.approx(p.max(), abs=1e-4)


def test_tmp():
    n = 0
    for seed in range(10):
        model = make(seed=seed)
        for b in (1, 2, 4):
            t, s = search(model, WORDS, 20, b)
            for w, x, y in zip(WORDS, t, s):
                if x is not None:
                    n += 1
                    assert log_p(model, [w], [x])[0] == pytest.approx(y, abs=1e-4)
                    t2, s2 = search(model, [w], 20, b)
                    assert t2 == [x]
    print(n)
