"""The lemmatizer: what it looks up, what it writes, and what it leaves alone."""

import json
import random

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import fix_random_seed

# The few words of most tests are learnt by heart
TINY = {"width": 32, "char_width": 16, "rows": 200, "hallucinate": 0.0}
LEMMAS = {"dogs": "dog", "Dogs": "dog", "cats": "cat", "ran": "run", "walks": "walk", "!": "!"}

# Numbers, codes, capitals, names, symbols, words of other scripts
ODD = [
    ["20345", "12:30", "2021-03-04", "1,000,000", "3.14"],
    ["A380", "B2B", "HTML5", "COVID-19", "v2.0", "@user_1"],
    ["NASA", "UNICEF", "IBM", "O'Neil", "McDonald", "iPhone"],
    # The last is in the row of a with 200 rows
    ["\U0001f600", "\U0001f44d\U0001f3ff", "\u2192", ":-)", chr(ord("a") + 200 * 600)],
    ["\u041c\u043e\u0441\u043a\u0432\u0430", "\u6771\u4eac", "\u03b1\u03b2\u03b3"],
]


def make(**config):
    nlp = spacy.blank("xx")
    config = {**config, "model": {**TINY, **config.get("model", {})}}
    nlp.add_pipe("birnn_lemmatizer", name="pipe", config=config)
    return nlp


def example(nlp, words, lemmas, pos=None, tagged=False):
    annotation = {"lemmas": lemmas, **({"pos": pos} if pos else {})}
    return Example.from_dict(Doc(nlp.vocab, words=words, pos=pos if tagged else None), annotation)


def basic(nlp):
    return [example(nlp, list(LEMMAS), list(LEMMAS.values()))]


def lemmas_of(nlp, words, **annotation):
    return [token.lemma_ for token in nlp(Doc(nlp.vocab, words=words, **annotation))]


@pytest.fixture(scope="module")
def plural(fit):
    """Has learnt from many made-up words, none with a x, y or z, to leave out the s at the end."""
    fix_random_seed(0)
    rng = random.Random(0)
    nlp = make(lookup=False, model={"hallucinate": 0.4})
    stems = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 8))) for _ in range(150)]
    words = [word for stem in stems for word in (stem, stem + "s")]
    examples = [example(nlp, words, [word.removesuffix("s") for word in words])]
    fit(nlp, examples, steps=120, rate=0.01)
    for steps, rate in ((60, 0.003), (20, 0.001)):
        fit(nlp, examples, steps=steps, rate=rate, resume=True)
    return nlp


# Writing


def test_it_writes_what_it_has_not_seen(plural):
    assert lemmas_of(plural, ["cabbages", "head"]) == ["cabbage", "head"]


def test_it_copies_characters_that_training_never_showed(plural):
    words = ["zyxs", "x", "yzcabs", "\U0001f44d\U0001f408s", "éabs"]
    assert lemmas_of(plural, words) == [word.removesuffix("s") for word in words]


@pytest.mark.parametrize("words", ODD, ids=lambda words: words[0])
def test_what_is_unlike_all_words_of_training_keeps_its_form(plural, words):
    assert lemmas_of(plural, words) == words


def test_improbable_lemmas_are_not_used(plural, reload):
    nlp = reload(plural)
    pipe = nlp.get_pipe("pipe")
    words = ["cabbages", "heads", "zyxs", "abs"]
    pipe.cfg["threshold"] = 0.0
    lemmas = lemmas_of(nlp, words)
    assert lemmas == [word.removesuffix("s") for word in words]
    doc = Doc(nlp.vocab, words=words)
    p = np.exp(pipe.model.predict(([doc], np.arange(4), lemmas)))
    for threshold in [*p - 0.001, *p + 0.001, 1.0]:
        pipe.cfg["threshold"] = float(threshold)
        expected = [
            lemma if known >= threshold else word for word, lemma, known in zip(words, lemmas, p)
        ]
        assert lemmas_of(nlp, words) == expected


def test_documents_of_several_vocabs_in_one_batch(fit):
    nlp = make(lookup=False)
    vocabs = [nlp.vocab, Vocab(), Vocab()]
    texts = [["dogs", "ran"], ["cats", "dogs"], ["walks", "!"]]
    examples = []
    for vocab, words in zip(vocabs, texts):
        lemmas = [LEMMAS[word] for word in words]
        examples.append(Example.from_dict(Doc(vocab, words=words), {"lemmas": lemmas}))
    fit(nlp, examples, steps=80)
    pipe = nlp.get_pipe("pipe")
    docs = [Doc(Vocab(), words=words) for words in texts]
    for order in (docs, docs[::-1]):
        pipe.model.shims[1].drop()
        found = [[token.lemma_ for token in doc] for doc in pipe.pipe(order)]
        assert found == [[LEMMAS[token.text] for token in doc] for doc in order]


def test_batches_do_not_matter(plural, mixed_texts):
    texts = [*mixed_texts, "zyxs abcs", "abcs"]
    one_by_one = [[token.lemma_ for token in plural(text)] for text in texts]
    for batch_size in (1, 3, 100):
        plural.get_pipe("pipe").model.shims[1].drop()
        docs = list(plural.pipe(texts, batch_size=batch_size))
        assert [[token.lemma_ for token in doc] for doc in docs] == one_by_one
    assert plural.get_pipe("pipe").predict([]) == []


def test_unusual_tokens_always_get_a_lemma(plural):
    words = ["x" * 10000, "\U0001f44d\U0001f3ff", "e\u0301" * 50, "\x00\x1b", "\u0378", "\n\n"]
    found = lemmas_of(plural, words)
    assert all(found) and found[0] == words[0] and found[2] == words[2]
    assert all(len(lemma) <= 2 * len(word) + 10 for lemma, word in zip(found, words))


def test_white_space_is_its_own_lemma(plural):
    words = ["\n\n", " ", "\n\n\n \n", "\t", "abcs"]
    assert lemmas_of(plural, words) == [*words[:-1], "abc"]


@pytest.mark.parametrize("bias", [-1000.0, 1000.0])
def test_a_lemma_without_end_or_content_is_replaced_by_the_form(plural, reload, bias):
    nlp = reload(plural)
    module = nlp.get_pipe("pipe").model.shims[0].module
    module.copy.bias.data[:] = -1000.0
    module.generate.bias.data[0] = bias
    assert lemmas_of(nlp, ["abcs", "zz"]) == ["abcs", "zz"]


def test_a_wider_beam(plural, reload):
    nlp = reload(plural)
    nlp.get_pipe("pipe").cfg["beam_width"] = 3
    assert lemmas_of(nlp, ["cabbages", "zyxs"]) == ["cabbage", "zyx"]


# Looking up


def test_known_forms_are_looked_up():
    nlp = make()
    nlp.initialize(lambda: basic(nlp))
    assert lemmas_of(nlp, list(LEMMAS)) == list(LEMMAS.values())
    # The network has learnt nothing
    nlp.get_pipe("pipe").cfg["lookup"] = False
    assert lemmas_of(nlp, list(LEMMAS)) != list(LEMMAS.values())


def test_a_form_with_several_lemmas_is_looked_up_with_its_part_of_speech(monkeypatch):
    nlp = make()
    words = ["saw"] * 4
    pos = ["VERB", "NOUN", "X", "X"]
    nlp.initialize(lambda: [example(nlp, words, ["see", "saw", "see", "saw"], pos)])
    pipe = nlp.get_pipe("pipe")
    pipe.model.attrs["decode"] = lambda model, docs, tokens, limits, **_: ["?"] * len(tokens)
    found = lemmas_of(nlp, [*words, "saw"], pos=["NOUN", "VERB", "X", "ADJ", ""])
    assert found == ["saw", "see", "?", "?", "?"]


def test_no_lookup():
    nlp = make(lookup=False)
    nlp.initialize(lambda: basic(nlp))
    assert nlp.get_pipe("pipe").cfg["table"] == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_lemmas_that_are_set_are_kept_unless_overwritten(overwrite):
    nlp = make(overwrite=overwrite)
    nlp.initialize(lambda: basic(nlp))
    found = lemmas_of(nlp, ["dogs", "cats"], lemmas=["DOG", ""])
    assert found == ["dog" if overwrite else "DOG", "cat"]


# Training


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("attention", [True, False])
def test_it_learns_a_few_words_by_heart(fit, cell, attention):
    nlp = make(lookup=False, model={"cell": cell, "attention": attention})
    assert fit(nlp, basic(nlp), steps=80)["pipe"] < 1
    assert lemmas_of(nlp, list(LEMMAS)) == list(LEMMAS.values())
    assert nlp.evaluate(basic(nlp))["lemma_acc"] == 1.0


def test_context_decides_where_tok2vec_is_given(fit, tiny_tok2vec):
    nlp = make(lookup=True, model={"tok2vec": tiny_tok2vec})
    examples = [
        example(nlp, ["they", "saw", "it"], ["they", "see", "it"]),
        example(nlp, ["a", "saw", "cuts"], ["a", "saw", "cut"]),
    ]
    fit(nlp, examples, steps=180, rate=0.005)
    assert lemmas_of(nlp, ["they", "saw", "it"])[1] == "see"
    assert lemmas_of(nlp, ["a", "saw", "cuts"])[1] == "saw"


def test_a_shared_tok2vec_is_trained_with_and_without_lemmas(tiny_tok2vec, weights, unmoved):
    nlp = spacy.blank("xx")
    shared = nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    model = {"@architectures": "spacy-birnn.SequenceTagger.v1", "output": "softmax"}
    nlp.add_pipe("birnn_tagger", config={"model": {**model, "tok2vec": listener}})
    nlp.add_pipe("birnn_lemmatizer", config={"model": {**TINY, "tok2vec": listener}})
    lemmas = [example(nlp, ["dogs", "ran"], ["dog", "run"])]
    words = Doc(nlp.vocab, words=["dogs", "ran"])
    tags = [Example.from_dict(words, {"tags": ["NNS", "VBD"]})]
    sgd = nlp.initialize(lambda: [*lemmas, *tags])
    for examples in (lemmas, tags):
        before = weights(shared.model)
        for _ in range(2):  # at first the tagger's weights are 0
            nlp.update(examples, sgd=sgd)
        assert unmoved(before, weights(shared.model)) == []
    assert [token.lemma_ for token in nlp("dogs ran dogs")] == ["dog", "run", "dog"]


def test_parts_of_speech_decide_where_training_had_them(fit):
    nlp = make(lookup=False)
    words, pos = ["saw", "saw", "dogs"], ["VERB", "NOUN", "NOUN"]
    examples = [example(nlp, words, ["see", "saw", "dog"], pos, tagged=True)]
    fit(nlp, examples, steps=80)
    assert lemmas_of(nlp, words, pos=pos) == ["see", "saw", "dog"]
    # Without them, and with one that training never had, it still knows what is certain
    assert lemmas_of(nlp, ["dogs"]) == lemmas_of(nlp, ["dogs"], pos=["INTJ"]) == ["dog"]


def test_missing_lemmas_are_left_out(fit, weights, same):
    nlp = make(lookup=False)
    nlp.initialize(lambda: basic(nlp))
    pipe = nlp.get_pipe("pipe")
    before = weights(pipe.model)
    nothing = [example(nlp, ["dogs", "ran"], ["", ""]), Example(Doc(nlp.vocab), Doc(nlp.vocab))]
    too_long = [example(nlp, ["x" * 51, "a"], ["x", "y" * 13])]
    assert pipe.update(nothing + too_long, sgd=nlp.create_optimizer())["pipe"] == 0
    assert same(before, weights(pipe.model))
    partial = [example(nlp, ["dogs", "ran"], ["dog", ""])]
    whole = [example(nlp, ["dogs"], ["dog"])]
    assert pipe.update(partial)["pipe"] == pytest.approx(pipe.update(whole)["pipe"], rel=1e-5)


def test_a_word_that_comes_often_in_a_batch_counts_once():
    nlp = make()
    nlp.initialize(lambda: basic(nlp))
    pipe = nlp.get_pipe("pipe")
    once = pipe.update([example(nlp, ["dogs", "ran"], ["dog", "run"])])["pipe"]
    often = [example(nlp, ["dogs", "ran", "dogs"], ["dog", "run", "dog"])] * 2
    assert pipe.update(often)["pipe"] == pytest.approx(once, rel=1e-5)


# Labels, settings and errors


def test_initialize_with_label_data():
    nlp, other = make(), make()
    nlp.initialize(lambda: basic(nlp))
    labels = json.loads(json.dumps(nlp.get_pipe("pipe").label_data))
    assert labels == sorted({char for lemma in LEMMAS.values() for char in lemma})
    pipe = other.get_pipe("pipe")
    pipe.initialize(lambda: [example(other, ["q"], ["q"])], nlp=other, labels=labels)
    assert pipe.labels == nlp.get_pipe("pipe").labels
    with pytest.raises(ValueError, match="BIRNN-E020.*pipe"):
        pipe.initialize(lambda: basic(other), nlp=other, labels="abc")
    for no_character in ("", "ab", 3):
        with pytest.raises(ValueError, match="BIRNN-E043.*pipe"):
            pipe.initialize(lambda: basic(other), nlp=other, labels=["a", no_character])


def test_initializing_again_starts_again():
    nlp = make()
    nlp.initialize(lambda: basic(nlp))
    nlp.initialize(lambda: [example(nlp, ["mice"], ["mouse"])])
    pipe = nlp.get_pipe("pipe")
    assert set(pipe.cfg["table"]) == {"mice"} and set(pipe.labels) == set("mouse")
    nlp.update([example(nlp, ["mice"], ["mouse"])])


@pytest.mark.parametrize(
    "settings", [{"beam_width": 0}, {"beam_width": -1}, {"max_chars": 0}, {"threshold": 1.5}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="BIRNN-E001.*pipe"):
        make(**settings)


def test_data_without_lemmas_is_refused():
    nlp = make()
    with pytest.raises(ValueError, match="BIRNN-E040.*pipe"):
        nlp.initialize(lambda: [example(nlp, ["dogs"], [""])])


def test_rehearsal_passes_it_over_with_a_warning(plural):
    with pytest.warns(UserWarning, match="BIRNN-W002.*pipe"):
        assert plural.rehearse(basic(plural)) == {}


def test_a_form_that_gets_another_lemma_is_looked_up_no_more():
    nlp = make()
    sgd = nlp.initialize(lambda: [example(nlp, ["mice", "dogs"], ["mouse", "dog"])])
    sgd.learn_rate = 0.02
    correction = [example(nlp, ["mice", "dogs"], ["mus", "dog"])]
    assert lemmas_of(nlp, ["mice", "dogs"]) == ["mouse", "dog"]
    for _ in range(60):
        nlp.update(correction, sgd=sgd)
    assert lemmas_of(nlp, ["mice", "dogs"]) == ["mus", "dog"]


def test_a_correction_that_is_too_long_to_be_learnt_leaves_the_table_as_it_is():
    nlp = make(max_chars=5)
    nlp.initialize(lambda: [example(nlp, ["abcdefg", "ab"], ["abc", "a"])])
    table = dict(nlp.get_pipe("pipe").cfg["table"])
    nlp.update([example(nlp, ["abcdefg", "ab"], ["abcd", "a" * 30])])
    assert nlp.get_pipe("pipe").cfg["table"] == table == {"ab": "a", "abcdefg": "abc"}


def test_lemmas_that_cannot_be_written_are_left_out_and_reported_once():
    nlp = make()
    nlp.initialize(lambda: [example(nlp, ["mice"], ["mouse"])])
    unwritable = [example(nlp, ["mice"], ["rat"])]
    with pytest.warns(UserWarning, match="BIRNN-W003.*pipe.*'rat' of 'mice': 'a'"):
        assert nlp.update(unwritable) == {"pipe": 0.0}
    assert nlp.update(unwritable) == {"pipe": 0.0}
    assert lemmas_of(nlp, ["mice"]) == ["mouse"]


def test_of_a_form_with_several_lemmas_only_the_corrected_one_is_forgotten():
    nlp = make()
    pos = ["NOUN", "VERB"]
    nlp.initialize(lambda: [example(nlp, ["saw", "saw"], ["saw", "see"], pos=pos)])
    pipe = nlp.get_pipe("pipe")
    nlp.update([example(nlp, ["saw", "saw"], ["saw", "see"], pos=pos)])
    assert pipe.cfg["table"] == {"saw": {"NOUN": "saw", "VERB": "see"}}
    nlp.update([example(nlp, ["saw"], ["sew"], pos=["VERB"])])
    assert pipe.cfg["table"] == {"saw": {"NOUN": "saw"}}


def test_weights_that_are_not_finite_are_reported(plural, reload):
    nlp = reload(plural)
    module = nlp.get_pipe("pipe").model.shims[0].module
    module.generate.bias.data[:] = np.nan
    with pytest.raises(ValueError, match="BIRNN-E022"):
        nlp("abc")
    with pytest.raises(ValueError, match="BIRNN-E022.*pipe"):
        nlp.update([example(nlp, ["abs"], ["ab"])])
