import numpy as np
import pytest
import torch

from spacy_birnn.layers.chars import CharRNN

WORDS = [[1, 2, 3, 4], [], [5], [2, 1]]


def encode(module, words, **kwargs):
    chars = torch.tensor([char for word in words for char in word], dtype=torch.int64)
    return module(chars, np.array([len(word) for word in words]), **kwargs)


@pytest.fixture
def module():
    return CharRNN(10, char_width=3, hidden_width=4).eval()


def test_a_word_has_the_same_vector_alone_and_in_any_batch(module):
    together = encode(module, WORDS)
    assert together.shape == (4, 8)
    for vector, word in zip(together, WORDS):
        assert torch.allclose(encode(module, [word])[0], vector, atol=1e-6)


def test_a_word_without_characters_is_zero(module):
    assert not encode(module, WORDS)[1].any()
    assert encode(module, []).shape == (0, 8)
    assert encode(module, [[], []]).shape == (2, 8)


@pytest.mark.parametrize("part, other", [(slice(0, 4), [9, 2, 3]), (slice(4, 8), [1, 2, 9])])
def test_each_direction_reads_the_whole_word(module, part, other):
    # The state of either direction still knows of the character that it read first
    vectors = encode(module, [[1, 2, 3], other])[:, part]
    assert not torch.allclose(*vectors, atol=1e-4)


def test_dropout_is_for_training_only(module):
    assert torch.equal(encode(module, WORDS, drop=0.5), encode(module, WORDS))
    module.train()
    assert torch.equal(encode(module, WORDS, drop=0.0), encode(module, WORDS, drop=0.0))
    assert not torch.equal(encode(module, WORDS, drop=0.5), encode(module, WORDS, drop=0.5))
