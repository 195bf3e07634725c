"""The model card of a package: what spaCy's README has, and what is measured of the pipeline."""

import os
import re

import pytest
import spacy
from model_card import main, pipeline_of
from spacy.cli.package import package
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_birnn import evaluation

# `spacy package` leaves that to Python
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

PIPES = ("birnn_ner", "birnn_tagger", "birnn_morphologizer", "birnn_textcat")


@pytest.fixture(scope="module")
def packaged(tiny_tok2vec, make_examples, fit, tmp_path_factory):
    """A package with its card, and the documents that the card is about."""
    folder = tmp_path_factory.mktemp("card")
    nlp = spacy.blank("xx")
    for name in PIPES:
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    examples = make_examples(nlp)
    # What it learns is not all that the test part has
    fit(nlp, examples[:2], steps=40)
    # A label that Markdown would take for its own
    nlp.get_pipe("birnn_tagger").add_label("``|")
    nlp.to_disk(folder / "model")
    corpus = folder / "test.spacy"
    DocBin(docs=[eg.reference for eg in examples] * 10).to_disk(corpus)
    package(folder / "model", folder, name="tiny", version="1.2.3", create_sdist=False)
    path = folder / "xx_tiny-1.2.3"
    main(path, corpus, train=corpus, about="Three sentences.")
    return path, corpus


@pytest.fixture
def card(packaged):
    return (packaged[0] / "README.md").read_text(encoding="utf8")


def rows_of(card, title):
    """The cells of the first table after a title."""
    lines = card.split(title)[1].split("\n\n| ")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_package_has_the_card_and_what_spacy_writes(packaged, card):
    path, _ = packaged
    assert (pipeline_of(path) / "README.md").read_text(encoding="utf8") == card
    assert "| **Name** | `xx_tiny` |" in card and "| **Version** | `1.2.3` |" in card
    assert "View label scheme" in card and "`PERSON`" in card.split("### Data")[0]
    assert card.startswith("Three sentences.\n")


def test_the_numbers_are_those_of_the_pipeline_on_the_test_part(packaged, card):
    path, corpus = packaged
    nlp = spacy.load(pipeline_of(path))
    docs = list(DocBin().from_disk(corpus).get_docs(nlp.vocab))
    done = evaluation.predict(nlp, [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    findings = [found for eg in done for found in evaluation.compare_entities(eg)]
    expected = evaluation.count_by_label(findings)
    assert rows_of(card, "**Entities**") == [
        [label, *(f"{100 * value:.1f}" for value in (n.p, n.r, n.f)), str(n.annotated)]
        for label, n in expected.items()
    ]
    accuracy = nlp.evaluate(done)["tag_acc"]
    assert f"| `TAG_ACC` | {100 * accuracy:.2f} |" in card
    right = sum(float(row[2]) * int(row[4]) for row in rows_of(card, "**Tags**"))
    n = sum(int(row[4]) for row in rows_of(card, "**Tags**"))
    assert right / n == pytest.approx(100 * accuracy, abs=0.1)
    assert [row[0] for row in rows_of(card, "**Categories of birnn_textcat**")] == [
        "SLOGAN",
        "TRADE",
        "TRAVEL",
    ]
    assert ["train", "30", "190", "40"] in rows_of(card, "### Data")


def test_calibration_size_and_speed(packaged, card):
    for name in PIPES:
        assert re.search(rf"\*\*{name}\*\*: expected calibration error 0\.\d{{4}}", card)
        n = sum(int(row[1]) for row in rows_of(card, f"**{name}**: expected"))
        assert n > 0
    nlp = spacy.load(pipeline_of(packaged[0]))
    sizes = {name: int(n.replace(",", "")) for name, n in rows_of(card, "### Size and speed")}
    # The layers in torch are most of it
    nodes = nlp.get_pipe("birnn_ner").model.get_ref("tok2vec").walk()
    weights = [getattr(shim, "weights", {}) for node in nodes for shim in node.shims]
    least = sum(weight.size for own in weights for weight in own.values())
    assert sizes["birnn_ner"] > least > 0
    assert sizes.pop("all") == sum(sizes.values())
    assert len(re.findall(r"[\d,]+ words/s", card)) == 2
    assert f"{os.cpu_count()} cores" in card


def test_the_code_on_it_runs(packaged, card, capsys):
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    exec(code.replace('"xx_tiny"', repr(str(pipeline_of(packaged[0])))), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and "('Anna', " in printed[1] and "TRAVEL" in printed[-1]


def test_a_pipeline_without_probabilities_has_no_calibration(nlp, tmp_path):
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Acme"}])
    nlp.to_disk(tmp_path / "model")
    doc = nlp("Acme")
    DocBin(docs=[doc]).to_disk(tmp_path / "test.spacy")
    package(tmp_path / "model", tmp_path, name="rules", version="0.0.1", create_sdist=False)
    main(tmp_path / "xx_rules-0.0.1", tmp_path / "test.spacy")
    card = (tmp_path / "xx_rules-0.0.1" / "README.md").read_text(encoding="utf8")
    assert "### Calibration" not in card and "confidence" not in card
    assert rows_of(card, "**Entities**") == [["ORG", "100.0", "100.0", "100.0", "1"]]
