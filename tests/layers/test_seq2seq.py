"""The character encoder-decoder: against its formula, and its search against all outputs."""

from itertools import product

import numpy as np
import pytest
import torch

from spacy_birnn import beam
from spacy_birnn.checks import KERNEL_CELLS
from spacy_birnn.compiler.seq2seq import Seq2SeqProgram
from spacy_birnn.layers.seq2seq import REACH, CharSeq2Seq

WORDS = ["ba", "abcab", "x", "axa", "yy", "bbbbbbbbbbbb"]


def code_points(words):
    chars = np.array([ord(char) for word in words for char in word], dtype="int64")
    return chars, np.array([len(word) for word in words], dtype="int64")


def make(alphabet="ab", seed=0, scale=1.0, **settings):
    """A model with large random weights, so that its outputs differ much."""
    torch.manual_seed(seed)
    defaults = {"rows": 50, "char_width": 6, "width": 8, "cell": "gru"}
    cfg = {"alphabet": [ord(char) for char in alphabet], "attention": True, **defaults, **settings}
    model = CharSeq2Seq(3, **cfg)
    model.cfg = cfg
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn_like(parameter)
        # Else most outputs have no end
        model.generate.bias[0] += 2 * scale
        if model.attention:
            model.copy.bias -= 2 * scale
    return model.eval()


def conditions(words):
    """Each word's own, whatever words it comes with."""
    return torch.tensor([[len(word), ord(word[0]) % 7, 1.0] for word in words]) / 10


def log_p(model, words, targets):
    with torch.no_grad():
        return model(conditions(words), *code_points(words), *code_points(targets)).numpy()


def compiled(model):
    weights = {name: part.detach().numpy() for name, part in model.state_dict().items()}
    return Seq2SeqProgram(weights, model.cfg)


def search(model, words, limit, beam_width=1):
    limits = np.full(len(words), limit)
    vectors = conditions(words).numpy()
    found = beam.search(
        compiled(model), vectors, *code_points(words), limits, beam_width=beam_width
    )
    texts = [None if out.chars is None else "".join(map(chr, out.chars)) for out in found]
    return texts, [out.score for out in found]


def all_outputs(letters, longest):
    return ["".join(chars) for n in range(longest + 1) for chars in product(letters, repeat=n)]


@torch.no_grad()
def log_p_by_hand(model, word, target):
    """The formula, one character after the other."""

    alphabet = ["", *(chr(code) for code in model.alphabet[1:].tolist())]

    def embed(chars):
        known = {None: 0, **{char: i for i, char in enumerate(alphabet)}}
        rows = [known[c] if c in known else len(alphabet) + ord(c) % 50 for c in chars]
        return model.embed(torch.tensor(rows))

    states, final = model.encoder(embed(word), np.array([len(word)]))
    summary = torch.tanh(model.summarize(torch.cat([final, conditions([word])], dim=1)))
    log_p = 0.0
    for t in range(len(target) + 1):
        before = embed([None, *target[:t]])
        X = torch.cat([before, summary.expand(t + 1, -1)], dim=1)
        h = model.decoder(X, np.array([t + 1]))[0][-1]
        char = target[t] if t < len(target) else ""
        p = torch.tensor(0.0)
        gate, mixed = 0.0, h
        if model.attention:
            scores = torch.stack([model.query(h) @ s for s in states])
            for i in range(len(word)):
                scores[i] += model.distance_bias[REACH + max(-REACH, min(REACH, i - t))]
            weights = scores.softmax(dim=0)
            mixed = torch.tanh(model.mix(torch.cat([h, weights @ states])))
            gate = torch.sigmoid(model.copy(mixed))
            p = gate * sum(w for w, c in zip(weights, word) if c == char)
        if char in alphabet:
            p += (1 - gate) * model.generate(mixed).softmax(dim=0)[alphabet.index(char)]
        log_p += float(torch.log(p + 1e-8))
    return log_p


@pytest.mark.parametrize("cell", KERNEL_CELLS)
@pytest.mark.parametrize("attention", [True, False])
def test_the_probability_of_an_output_is_that_of_the_formula(cell, attention):
    model = make(cell=cell, attention=attention)
    targets = ["a", "abab", "", "xa", "yb", "bbbbbbbbbbbbab"]
    by_hand = [log_p_by_hand(model, *pair) for pair in zip(WORDS, targets)]
    np.testing.assert_allclose(log_p(model, WORDS, targets), by_hand, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", [True, False])
def test_the_probabilities_of_all_next_characters_sum_to_one(attention):
    model = make(attention=attention)
    decoder = compiled(model)
    source = decoder.encode(conditions(["xa"]).numpy(), *code_points(["xa"]))
    _, generated, copied = decoder.step(np.array([[ord("a")]]), 1, {}, source)
    assert float(generated.sum() + copied.sum()) == pytest.approx(1, abs=1e-5)
    assert bool(copied.any()) == attention


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("cell", KERNEL_CELLS)
def test_the_search_finds_the_most_probable_of_all_outputs(cell, attention):
    n_found = 0
    for seed, word in enumerate(["ba", "xa", "xyx"] * 2):
        model = make(cell=cell, attention=attention, seed=seed, scale=0.5)
        letters = sorted({*"ab", *word}) if attention else "ab"
        outputs = all_outputs(letters, 3)
        scores = log_p(model, [word] * len(outputs), outputs)
        # As many as there are beginnings: none is lost
        (found,), (score,) = search(model, [word], 3, beam_width=len(letters) ** 3)
        if found is not None:
            n_found += 1
            assert found == outputs[int(scores.argmax())]
            assert score == pytest.approx(scores.max(), abs=1e-4)
    assert n_found


def test_a_wider_beam_finds_nothing_worse():
    gained = 0.0
    for seed in range(5):
        model = make(seed=seed)
        for narrow, wide in zip(search(model, WORDS, 20)[1], search(model, WORDS, 20, 4)[1]):
            assert wide >= narrow - 1e-5
            gained += wide - narrow
    assert gained > 0.1


@pytest.mark.parametrize("beam_width", [1, 3])
def test_a_word_is_the_same_alone_and_in_any_batch(beam_width):
    model = make(seed=1, scale=0.5)
    targets = ["a", "abab", "", "xa", "yb", "bbbb"]
    together, (texts, scores) = log_p(model, WORDS, targets), search(model, WORDS, 20, beam_width)
    for i, (word, target) in enumerate(zip(WORDS, targets)):
        np.testing.assert_allclose(log_p(model, [word], [target])[0], together[i], rtol=1e-6)
        (text,), (score,) = search(model, [word], 20, beam_width)
        assert text == texts[i] and score == pytest.approx(scores[i], rel=1e-6)
        if text is not None:
            assert log_p(model, [word], [text])[0] == pytest.approx(score, abs=1e-4)
    assert any(texts)


def test_more_words_than_are_decoded_together(monkeypatch):
    model = make(seed=1)
    expected = search(model, WORDS, 20)[0]
    monkeypatch.setattr("spacy_birnn.beam.BATCH", 4)
    assert search(model, WORDS, 20)[0] == expected


@pytest.mark.parametrize("beam_width", [1, 2])
def test_an_output_without_an_end_is_cut_off(beam_width):
    model = make(scale=0.1)
    with torch.no_grad():
        model.generate.bias[0] = -100.0
    assert search(model, WORDS, 7, beam_width)[0] == [None] * len(WORDS)


@pytest.mark.parametrize("beam_width", [1, 3])
def test_of_equal_scores_the_first_character_wins(beam_width):
    model = make(alphabet="cba", scale=0.0, attention=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.generate.bias[0] = -2.0
    found = {tuple(search(model, WORDS[:n], 5, beam_width)[0]) for n in (1, 1, 6)}
    assert len(found) == 2 and {text for texts in found for text in texts} <= {"", "aaaaa", None}


def test_only_copying_gives_a_character_that_is_not_in_the_alphabet():
    with_attention, without = make(scale=0.1), make(scale=0.1, attention=False)
    assert log_p(with_attention, ["xx"], ["x"])[0] > -10 > log_p(without, ["xx"], ["x"])[0]


def test_no_other_character_is_taken_for_one_of_the_alphabet():
    model = make()
    # With 50 rows each is in the row of the one before it
    like_a, like_x = chr(ord("a") + 50), chr(ord("x") + 50)
    words = [f"b{char}" for char in ("a", like_a, "x", like_x)]
    condition = torch.zeros((4, 3))
    states = model.encode(condition, *code_points(words)).states
    assert not torch.allclose(states[0], states[1])
    torch.testing.assert_close(states[2], states[3])


def test_every_parameter_has_a_gradient_and_dropout_is_random():
    model = make().train()
    args = (conditions(WORDS), *code_points(WORDS), *code_points(["a"] * len(WORDS)))
    model(*args).sum().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []
    assert not torch.equal(model(*args, drop=0.5), model(*args, drop=0.5))
    assert torch.equal(model(*args), model(*args))
    model.eval()
    assert torch.equal(model(*args, drop=0.5), model(*args))
