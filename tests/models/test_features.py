import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from spacy_birnn.models.features import by_word, code_points, distinct_words

# Any code point at all, also lone surrogates, which are no characters
any_text = st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=12).map("".join)


@given(st.lists(any_text, max_size=5))
def test_code_points_are_those_of_the_words(words):
    points, lengths = code_points(words, max_chars=12)
    assert lengths.tolist() == [len(word) for word in words]
    assert points.tolist() == [ord(char) for word in words for char in word]


def test_of_a_long_word_both_ends_are_read():
    points, lengths = code_points(["abcdefgh", "abcd", "abc"], max_chars=4)
    assert "".join(map(chr, points)) == "abgh" + "abcd" + "abc"
    assert lengths.tolist() == [4, 4, 3]
    odd, _ = code_points(["abcdefgh"], max_chars=3)
    assert "".join(map(chr, odd)) == "abh"
    single, _ = code_points(["abcdefgh"], max_chars=1)
    assert "".join(map(chr, single)) == "a"


def test_distinct_words(nlp):
    docs = [Doc(nlp.vocab, words=words) for words in (["b", "a"], [], ["a", "c", "b"])]
    words, which = distinct_words(docs)
    assert sorted(words.texts) == ["a", "b", "c"] and words.vocabs == [(nlp.vocab, 3)]
    assert [words.texts[i] for i in which] == ["b", "a", "a", "c", "b"]
    words, which = distinct_words([])
    assert (words.texts, words.vocabs, len(which)) == ([], [], 0)


def test_distinct_words_of_several_vocabs(nlp):
    other = Vocab()
    docs = [Doc(nlp.vocab, words=["a", "b"]), Doc(other, words=["c", "a"]), Doc(nlp.vocab, ["b"])]
    words, which = distinct_words(docs)
    assert [words.texts[i] for i in which] == ["a", "b", "c", "a", "b"]
    assert words.vocabs == [(nlp.vocab, 2), (other, 2)] and sorted(words.texts[:2]) == ["a", "b"]


def test_a_layer_runs_once_on_each_word_and_its_gradient_is_summed(nlp):
    seen, gradients = [], []

    def forward(model, words, is_train):
        seen.append(words.texts)
        vectors = np.array([[float(ord(word))] for word in words.texts], dtype="f")
        return vectors, lambda dY: gradients.append(dY) or []

    model = by_word(Model("ord", forward, dims={"nO": 1}))
    docs = [Doc(nlp.vocab, words=words) for words in (["b", "a"], [], ["a", "a"])]
    Ys, backprop = model(docs, is_train=True)
    assert [Y.tolist() for Y in Ys] == [[[98], [97]], [], [[97], [97]]]
    assert sorted(seen[0]) == ["a", "b"] and len(seen) == 1
    backprop([np.array([[1], [2]], "f"), np.zeros((0, 1), "f"), np.array([[4], [8]], "f")])
    assert dict(zip(seen[0], gradients[0][:, 0].tolist())) == {"b": 1, "a": 14}
