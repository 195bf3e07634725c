"""The machinery of the benchmarks, without any training."""

from pathlib import Path

import numpy as np
import pytest
import spacy
import srsly
from ablation import VARIANTS, override, read_variants
from accuracy import choose_sides, config_of
from calibration import calibration, reliability
from corpora import draw
from plain_bilstm_crf import Sentence, Tagger, Words, case_of, read
from sides import read_vectors, recommended
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.vocab import Vocab
from tasks import TASKS
from typer import BadParameter

CONFIGS = Path(__file__).resolve().parents[2] / "project" / "configs"
SIDES = [(name, side) for name, task in TASKS.items() for side in task.sides if side != "plain"]


@pytest.mark.parametrize("name,side", SIDES)
def test_every_side_has_a_whole_config(name, side):
    task = TASKS[name]
    config = config_of(task, side, lang="en", ours=CONFIGS / task.ours)
    assert config["training"]["optimizer"] and config["corpora"]["dev"]
    assert "vectors" in config["initialize"]
    assert (task.factory in config.to_str()) == (side in ("defaults", "ours"))


def test_spacys_models_read_vectors_if_they_can():
    config = recommended("en", ("ner",))
    assert read_vectors(config)
    assert config["components"]["tok2vec"]["model"]["embed"]["include_static_vectors"] is True
    assert not read_vectors(recommended("en", ("textcat",)))


def test_sides_by_their_names():
    task = TASKS["sst2"]
    assert choose_sides(task, "") == list(task.sides)
    assert choose_sides(task, "ours,spacy-cnn") == ["spacy-cnn", "ours"]
    assert choose_sides(task, "spacy") == ["spacy-bow", "spacy-cnn", "spacy-ensemble"]
    with pytest.raises(BadParameter, match="'plain'; expected some of"):
        choose_sides(task, "plain")


@pytest.mark.parametrize("factory", srsly.read_yaml(VARIANTS))
def test_every_variant_changes_its_settings_only(factory):
    base = recommended("en", (factory,))
    before = base.to_str()
    for name, overrides in read_variants(VARIANTS, factory, []).items():
        changed = override(base, overrides)
        assert (changed.to_str() == before) == (not overrides), name
    assert base.to_str() == before


def test_unknown_variants_and_settings():
    with pytest.raises(BadParameter, match="--variant 'none'; expected one of defaults, "):
        read_variants(VARIANTS, "birnn_ner", ["none"])
    for setting in ("components.birnn_ner.model.depth", "training.nothing.here", "training.seed.x"):
        with pytest.raises(BadParameter, match=f"no setting '{setting}'"):
            override(recommended("en", ("birnn_ner",)), {setting: 1})


def test_reliability():
    # Two bins: 0.9 on average where 3 of 4 are right, 0.2 where none of 1 is
    pairs = [(0.9, True), (0.9, True), (0.9, True), (0.9, False), (0.2, False)]
    found = reliability(pairs)
    assert found["ece"] == pytest.approx((4 * 0.15 + 0.2) / 5)
    assert (found["mean"], found["right"], found["n"]) == (pytest.approx(0.76), 0.6, 5)
    assert reliability([(1.0, True), (0.0, False)])["ece"] == 0.0


def test_entities_of_a_recognizer_that_has_no_confidence(no_extensions):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Acme"}])
    doc = nlp("They buy Acme")
    assert doc.ents and calibration(nlp, [Example(doc, doc.copy())]) == {}


def test_calibration_of_categories_and_tags():
    nlp = spacy.blank("en")
    nlp.vocab.strings.add("A")

    class Tagger:
        def label_probabilities(self, docs):
            return [np.array([[0.7, 0.3], [0.4, 0.6]]) for doc in docs]

    class Pipeline:
        pipe_names = ("birnn_tagger",)

        def get_pipe(self, name):
            return Tagger()

    predicted, reference = nlp("one two"), nlp("one two")
    predicted[0].tag_, predicted[1].tag_, reference[1].tag_ = "A", "A", "A"
    predicted.cats, reference.cats = {"X": 0.8, "Y": 0.2}, {"X": 0.0, "Y": 1.0}
    found = calibration(Pipeline(), [Example(predicted, reference)])
    assert set(found) == {"tags", "categories"}
    # Only the second token is annotated
    assert found["tags"]["n"] == 1 and found["tags"]["ece"] == pytest.approx(0.4)
    assert found["categories"]["ece"] == pytest.approx(0.8)


def test_drawn_sentences_are_the_same_each_time(tmp_path):
    nlp = spacy.blank("en")
    path = tmp_path / "train.spacy"
    DocBin(docs=[nlp(f"text {i}") for i in range(20)]).to_disk(path)
    drawn = draw(path, 7)
    first = drawn.read_bytes()
    assert draw(path, 7).read_bytes() == first
    texts = [doc.text for doc in DocBin().from_disk(drawn).get_docs(nlp.vocab)]
    assert len(set(texts)) == 7
    assert texts == sorted(texts, key=lambda text: int(text.split()[1]))
    with pytest.raises(BadParameter, match="--train-size 21; expected at most 20"):
        draw(path, 21)


def test_plain_tagger_learns_what_it_sees(tmp_path):
    nlp = spacy.blank("en")
    docs = []
    for i in range(16):
        doc = nlp(f"{['Anna', 'Maria'][i % 2]} Berg met no {i} today")
        doc.set_ents([doc.char_span(0, doc.text.index(" met"), label="PERSON")])
        docs.append(doc)
    path = tmp_path / "train.spacy"
    DocBin(docs=docs).to_disk(path)
    sentences = read(path)
    assert sentences[0].ents == {(0, 2, "PERSON")}
    tagger = Tagger(Words([sentences], Vocab()), ["PERSON"])
    for _ in range(40):
        tagger.update(sentences)
    assert tagger.evaluate(sentences)["ents_f"] == 1.0


def test_words_of_the_plain_tagger():
    vocab = Vocab()
    vocab.reset_vectors(width=3)
    vocab.set_vector("oslo", np.array([1, 2, 3], dtype="f"))
    parts = [[Sentence(["a", "a", "b", "c12"], set())], [Sentence(["Oslo", "d", "c99"], set())]]
    words = Words(parts, vocab)
    assert words.width == 3 and list(words.rows) == ["Oslo", "a", "b", "c00"]
    assert words.rows_of(["d", "Oslo", "c99"]).tolist() == [0, 1, 4]
    # Neither what has a vector nor what is there twice
    assert words.rare.tolist() == [False, False, False, True, True]
    assert words.vectors[1].tolist() == [1, 2, 3]


def test_cases():
    words = ["ab", "AB", "Ab", "aB", "7.", "!?"]
    assert [case_of(word) for word in words] == [0, 1, 2, 3, 4, 5]
