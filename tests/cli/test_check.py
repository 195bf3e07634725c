"""`birnn check`: what it counts in a corpus made by hand, and when training would fail."""

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

import spacy_birnn.cli  # noqa: F401
from spacy_birnn.cli._app import app


@pytest.fixture
def save(nlp, tmp_path):
    """Write documents to a file in a directory of parts."""

    def write(name, docs):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "corpus" / f"{name}.spacy")
        return tmp_path / "corpus"

    return write


@pytest.fixture
def sentence(nlp):
    """A document with entities, as (start, end, label)."""

    def make(text, *ents, **cats):
        doc = Doc(nlp.vocab, words=text.split(" "))
        doc.ents = [Span(doc, *ent) for ent in ents]
        doc.cats = {label: float(value) for label, value in cats.items()}
        return doc

    return make


def check(*arguments, exit_code=0):
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == exit_code, result.stderr
    return result


def report(*arguments):
    return json.loads(check(*arguments, "--json").stdout)


@pytest.fixture
def corpus(save, sentence):
    train = [
        *[sentence(f"Oslo is {i}", (0, 1, "LOC")) for i in range(10)],
        sentence("Oslo won", (0, 1, "ORG")),
        sentence("Anna Berg won", (0, 2, "PER")),
    ]
    dev = [
        sentence("Oslo is 3", (0, 1, "LOC")),
        sentence("Bergen is old", (0, 1, "LOC")),
        sentence("no name in a longer sentence"),
        sentence("The Act", (0, 2, "LAW")),
    ]
    save("dev", dev)
    return save("train", train)


def test_labels_sizes_and_what_is_in_both(corpus):
    found = report(corpus)
    assert list(found["parts"]) == ["train", "dev"]
    assert found["parts"]["train"] == {"documents": 12, "tokens": 35, "entities": 12}
    assert found["lengths"]["dev"] == {"documents": [2, 3, 6, 6, 6], "entities": [1, 1, 2, 2, 2]}
    assert found["labels"] == {
        "entities": {
            "LOC": {"train": 10, "dev": 2},
            "LAW": {"train": 0, "dev": 1},
            "ORG": {"train": 1, "dev": 0},
            "PER": {"train": 1, "dev": 0},
        }
    }
    assert found["rare"] == {"entities": ["ORG", "PER"]}
    assert found["unseen"] == {"entities": ["LAW"]}
    assert found["ambiguous"] == [{"text": "Oslo", "labels": {"LOC": 11, "ORG": 1}}]
    assert found["known"] == {"dev": {"entities": 1, "texts": 1}}
    assert found["vectors"] is None
    advice = "\n".join(found["advice"])
    for expected in (
        "ORG (1), PER (1)",
        "can't be learned: LAW",
        "'Oslo' (LOC 11, ORG 1)",
        "1 of 4",
    ):
        assert expected in advice
    assert len(found["advice"]) == 5


def test_tables_say_the_same(corpus):
    shown = check(corpus).stdout
    assert ["LOC", "10", "2"] in [line.split() for line in shown.splitlines()]
    assert ["dev", "entities", "1", "3"] in [line.split() for line in shown.splitlines()]
    assert "- Labels of entities with fewer than 10" in shown


def test_data_with_nothing_to_say(save, sentence):
    path = save("all", [sentence(f"Oslo is {i}", (0, 1, "LOC")) for i in range(10)])
    assert report(path / "all.spacy")["advice"] == []
    assert "Nothing to object to." in check(path).stdout


def test_odd_entities(nlp, save):
    words = ["New", " ", "York", "won", "In", "Oslo"]
    doc = Doc(nlp.vocab, words=words, sent_starts=[True, False, False, False, True, False])
    doc.ents = [Span(doc, 0, 2, "LOC"), Span(doc, 3, 5, "EVENT")]
    glued = Doc(nlp.vocab, words=["Oslo", "based", "team"], spaces=[False, True, False])
    glued.ents = [Span(glued, 0, 1, "LOC"), Span(glued, 2, 3, "ORG")]
    found = report(save("train", [doc, glued]), "--lang", "xx")
    odd = found["odd"]["train"]
    assert odd["white_space"] == ["New  "] and odd["across_sentences"] == ["won In"]
    # No tokenizer splits "Oslobased"
    assert odd["misaligned"] == ["Oslo"]
    advice = "\n".join(found["advice"])
    assert "don't begin and end with a token of the pipeline: 'Oslo'" in advice


def test_categories(save, sentence):
    train = [sentence("good", A=1, B=0), sentence("good", A=0, B=1), sentence("odd", A=1, B=1)]
    found = report(save("train", train))
    assert found["labels"] == {"categories": {"A": {"train": 2}, "B": {"train": 2}}}
    assert found["conflicts"] == ["good"]
    advice = "\n".join(found["advice"])
    assert "'good'" in advice and "birnn_textcat_multilabel" in advice


def test_tags_and_morphology(nlp, save, make_examples):
    found = report(save("train", [eg.reference for eg in make_examples(nlp)]))
    assert found["labels"]["tags"]["NNP"] == {"train": 8}
    assert found["labels"]["morphology"]["PROPN Number=Sing"] == {"train": 8}
    assert "TO" in found["rare"]["tags"]


@pytest.fixture
def config(tmp_path, tiny_tok2vec):
    """A config for components, with paths of which those of the data are to be given."""

    def write(*factories, vectors=None):
        nlp = spacy.blank("xx")
        for factory in factories:
            nlp.add_pipe(factory, config={"model": {"tok2vec": tiny_tok2vec}})
        settings = nlp.config.copy()
        settings["paths"].update(train=None, dev=None)
        settings["initialize"]["vectors"] = vectors
        settings.to_disk(tmp_path / "config.cfg")
        return tmp_path / "config.cfg"

    return write


def paths(corpus, train="train", dev="dev"):
    return [f"--paths.train={corpus / train}.spacy", f"--paths.dev={corpus / dev}.spacy"]


def test_a_config_is_checked_for_what_its_components_learn(config, nlp, save, make_examples):
    docs = [eg.reference for eg in make_examples(nlp)]
    save("dev", docs[:1])
    corpus = save("train", docs)
    found = report(config("birnn_tagger", "birnn_ner"), *paths(corpus))
    assert set(found["labels"]) == {"tags", "entities"}
    assert found["known"]["dev"] == {"entities": 3, "texts": 1}


def test_words_with_a_vector(config, corpus, tmp_path):
    nlp = spacy.blank("xx")
    # Found in lower case and with digits as 0, as the components do
    for word in ("oslo", "0"):
        nlp.vocab.set_vector(word, np.ones(4, dtype="f"))
    nlp.to_disk(tmp_path / "vectors")
    found = report(config("birnn_ner", vectors=str(tmp_path / "vectors")), *paths(corpus))
    vectors = found["vectors"]
    # Oslo, 0 to 9; not: is, won, Anna, Berg
    assert (vectors["words"], vectors["words_have"]) == (15, 11)
    assert (vectors["tokens"], vectors["tokens_have"]) == (35, 21)
    assert vectors["missing"][:2] == ["is", "won"]
    found = report(config("birnn_ner"), *paths(corpus))
    assert found["vectors"] is None


def test_training_would_fail(config, corpus, save, sentence, tmp_path):
    path = config("birnn_ner")
    said = check(path, exit_code=1).stderr
    assert "Training would fail" in said and "E913" in said
    said = check(path, *paths(corpus, train="other"), exit_code=1).stderr
    assert "Training would fail" in said and "other.spacy" in said
    save("several", [sentence("both", A=1, B=1)])
    said = check(config("birnn_textcat"), *paths(corpus, train="several"), exit_code=1).stderr
    assert "BIRNN-E036" in said
    (tmp_path / "less.cfg").write_text("[nlp]\nlang = en\n")
    assert "[training]" in check(tmp_path / "less.cfg", exit_code=1).stderr


def test_data_that_nothing_can_be_learned_from(save, sentence, tmp_path):
    path = save("train", [sentence("no name"), sentence("none here")])
    assert "Training would fail" in check(path, exit_code=1).stderr
    (path / "train.spacy").write_bytes(b"no corpus")
    assert "train.spacy'" in check(path, exit_code=1).stderr
    (path / "train.spacy").unlink()
    assert "no .spacy file in" in check(path, exit_code=1).stderr
    assert "There is no" in check(tmp_path / "nothing", exit_code=1).stderr


def test_an_override_of_data_and_a_wrong_option_are_refused(corpus):
    assert "training.seed" in check(corpus, "--training.seed", "1", exit_code=1).stderr
    assert "--sed" in check(corpus, "--sed", "1", exit_code=2).stderr


def test_characters_that_training_does_not_show(save, sentence):
    save("dev", [sentence("caf\u00e9 caf\u00e9 noon"), sentence("zoo cafe")])
    folder = save("train", [sentence("a cafe once", (0, 1, "X"))])
    found = report(folder)["characters"]
    assert found["distinct"] == {"train": 6, "dev": 8}
    assert found["unseen"] == {"dev": {"\u00e9": 2, "z": 1}}
    assert found["unseen_tokens"] == {"dev": 3}
    assert found["rows"] is None and found["shared"] == []
    printed = " ".join(check(folder).stdout.split())
    assert "dev 2 3 '\u00e9' 2, 'z' 1" in printed
    assert (
        "60% of the tokens of dev have characters that are not in train: '\u00e9', 'z'" in printed
    )


def test_characters_that_a_model_cannot_tell_apart(nlp, save, sentence, tiny_tok2vec, tmp_path):
    """A character's row is its code point modulo the rows: the Cyrillic a has that of 0."""
    docs = [sentence("\u0430 0 x", (0, 1, "X"))] * 12
    folder = save("train", docs)
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.config.to_disk(tmp_path / "config.cfg")
    paths = [
        arg for part in ("train", "dev") for arg in (f"--paths.{part}", folder / "train.spacy")
    ]
    found = report(tmp_path / "config.cfg", *paths)["characters"]
    (layer,) = [node for node in nlp.get_pipe("birnn_ner").model.walk() if node.name == "char_rnn"]
    assert found["rows"] == layer.attrs["rows"] == 1024
    assert found["shared"] == [{"\u0430": 12, "0": 12}]
    printed = " ".join(check(tmp_path / "config.cfg", *paths).stdout.split())
    assert "as its table has 1024 rows: '\u0430' and '0'" in printed


def test_nothing_to_learn_from(nlp, save):
    path = save("train", [nlp.make_doc("Hi"), nlp.make_doc("No label here")])
    assert "has annotation to learn from" in check(path, exit_code=1).stderr
