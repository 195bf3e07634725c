import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import make_corpus
import pytest
import spacy
import srsly
from spacy.tokens import DocBin

PROJECT = Path(__file__).resolve().parents[2] / "project"
SCRIPT = PROJECT / "scripts" / "make_corpus.py"
SIZES = {"train": 500, "dev": 150, "test": 300}
SPLITS = list(SIZES)
GROUPS = ["ambiguous", "homograph"]


@pytest.fixture(scope="module")
def grammar():
    return srsly.read_yaml(PROJECT / "sample" / "grammar.yml")


@pytest.fixture(scope="module")
def lexicon():
    return srsly.read_yaml(PROJECT / "sample" / "lexicon.yml")


@pytest.fixture(scope="module")
def corpus(grammar, lexicon):
    return make_corpus.make_corpus(grammar, lexicon, sizes=SIZES, seed=0)


@pytest.fixture(scope="module")
def docs(corpus):
    vocab = spacy.blank("en").vocab
    return {split: [make_corpus.to_doc(text, vocab) for text in corpus[split]] for split in corpus}


@pytest.fixture
def tiny():
    """A grammar and a lexicon with one pair and one other sentence, to spoil in tests."""
    grammar = {
        "entities": {"ORG": ["{firm}"]},
        "phrases": {},
        "fillers": {"none": [""], "also": ["also"]},
        "pairs": {
            "company_or_noun": [
                {
                    "name": "tin",
                    "splits": SPLITS,
                    "word": "metal",
                    "filler": "also",
                    "readings": {"ORG": "pays", "NN": "rusts"},
                    "after": "{firm}",
                }
            ]
        },
        "sentences": [{"name": "pays", "splits": SPLITS, "texts": ["{ORG} pays"]}],
    }
    lexicon = {
        "tags": {"NN": ["NOUN", ""], "NNP": ["PROPN", ""], "VBZ": ["VERB", ""], "RB": ["ADV", ""]},
        "paradigms": {"noun": {"NN": 0}},
        "classes": {"metal": {"paradigm": "noun", "words": ["tin"]}},
        "names": {"firm": [list("bdfgklmnp"), ["a", "e", "o"], ["x"]]},
        "literals": [["pays", "VBZ", "pay"], ["rusts", "VBZ", "rust"], ["also", "RB", "also"]],
    }
    return grammar, lexicon


def marked(docs):
    """All ambiguous words: the document, the span and the name of its group."""
    groups = [(doc, group) for doc in docs for group in GROUPS if group in doc.spans]
    return [(doc, span, group) for doc, group in groups for span in doc.spans[group]]


def reading(span):
    return span[0].tag_, span[0].ent_type_


# What the corpus is made to show


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("group", GROUPS)
def test_left_context_decides_no_more_than_half_at_any_distance(docs, split, group):
    readings = defaultdict(Counter)
    for doc, span, name in marked(docs[split]):
        if name == group:
            readings[span.label_, doc.text[: span.end_char]][reading(span)] += 1
    right, total = Counter(), Counter()
    for (distance, _), counts in readings.items():
        # The best that any model can do that has read the same text so far
        right[distance] += max(counts.values())
        total[distance] += sum(counts.values())
    assert sorted(total) == [str(distance) for distance in range(1, 9)]
    assert {distance: right[distance] / total[distance] for distance in total} == dict.fromkeys(
        total, 0.5
    )


@pytest.mark.parametrize("split", SPLITS)
def test_texts_of_a_pair_part_at_the_cue(docs, split):
    words = marked(docs[split])
    for (one, span, group), (other, twin, twin_group) in zip(words[::2], words[1::2], strict=True):
        cue = span.start + int(span.label_)
        assert (span.start, span.label_, group) == (twin.start, twin.label_, twin_group)
        assert one[:cue].text == other[:cue].text
        assert one[cue].text != other[cue].text
        assert reading(span) != reading(twin)


def test_cue_decides(docs):
    # The cue itself tells the readings of a kind of word apart, whatever split it is in
    kinds = defaultdict(set)
    for doc, span, _ in marked([doc for split in SPLITS for doc in docs[split]]):
        kinds[doc[span.start + int(span.label_)].lower_].add(reading(span))
    pairs = [{("NNP", "ORG"), ("NN", "")}, {("NNP", "PERSON"), ("NNP", "GPE")}]
    pairs.append({("NNS", ""), ("VBZ", "")})
    assert all(not pair <= readings for readings in kinds.values() for pair in pairs)


def test_no_text_comes_twice(docs):
    texts = [doc.text for split in SPLITS for doc in docs[split]]
    assert len(set(texts)) == len(texts)


def test_names_and_ambiguous_words_are_new_in_every_split(docs):
    words = {split: {token.lower_ for doc in docs[split] for token in doc} for split in SPLITS}
    names = {}
    for split in SPLITS:
        names[split] = {span.text.lower() for _, span, _ in marked(docs[split])}
        for doc in docs[split]:
            names[split].update(t.lower_ for ent in doc.ents for t in ent if t.tag_ == "NNP")
        names[split].discard("group")  # as in "Zentatek Group"
    for split, other in [("dev", "train"), ("test", "train"), ("test", "dev"), ("train", "test")]:
        assert names[split]
        assert not names[split] & words[other]


def test_held_out_words_are_not_used_otherwise(lexicon):
    pools = [spec["words"] for spec in lexicon["classes"].values()]
    common = {row for words in pools if isinstance(words, list) for row in words}
    common = {form for row in common for form in row.split()}
    common |= {row[0] for row in lexicon["literals"]}
    held_out = [words for words in pools if isinstance(words, dict)]
    for split in ("dev", "test"):
        forms = {form for words in held_out for row in words[split] for form in row.split()}
        assert not forms & common


def test_constructions_keep_to_their_splits(corpus, grammar):
    constructions = [pair for pairs in grammar["pairs"].values() for pair in pairs]
    constructions += grammar["sentences"]
    splits = {construction["name"]: construction["splits"] for construction in constructions}
    assert len(splits) == len(constructions)
    used = {split: {text.name for text in corpus[split]} for split in SPLITS}
    assert all(split in splits[name] for split in SPLITS for name in used[split])
    assert set().union(*used.values()) == set(splits)
    assert len(used["test"] - used["train"]) >= 8


def test_new_constructions_are_made_of_known_pieces(grammar):
    pieces = {}
    for split in ("train", "test"):
        templates = []
        for single in grammar["sentences"]:
            templates += single["texts"] if split in single["splits"] else []
        for pair in (pair for pairs in grammar["pairs"].values() for pair in pairs):
            if split in pair["splits"]:
                templates += [pair.get("before", ""), pair["after"], *pair["readings"].values()]
                templates += grammar["fillers"][pair["filler"]]
        for template in templates:  # grows as phrases are found
            for piece in template.split():
                templates += grammar["phrases"].get(piece.strip("{}"), [])
        pieces[split] = {piece for template in templates for piece in template.split()}
    assert pieces["test"] <= pieces["train"]


def test_sentiment_may_turn_at_the_end(docs):
    sentiments = defaultdict(set)
    for doc in docs["train"]:
        sentiments[doc[:3].text.lower()].add(max(doc.cats, key=doc.cats.get))
    assert sentiments["we expected a"] == {"POSITIVE", "NEGATIVE"}


# Annotation


@pytest.mark.parametrize("split", SPLITS)
def test_annotation_is_complete(docs, split):
    for doc in docs[split]:
        for attr in ("TAG", "POS", "MORPH", "LEMMA", "ENT_IOB", "SENT_START"):
            assert doc.has_annotation(attr, require_complete=True), (attr, doc.text)
        assert sorted(doc.cats) == ["NEGATIVE", "NEUTRAL", "POSITIVE"]
        assert sorted(doc.cats.values()) == [0.0, 0.0, 1.0]
        assert 1 <= len(list(doc.sents)) <= 2
    sentiments = {max(doc.cats, key=doc.cats.get) for doc in docs[split]}
    assert sentiments == {"POSITIVE", "NEGATIVE", "NEUTRAL"}


def test_spacy_tokenizes_the_texts_alike(docs):
    nlp = spacy.blank("en")
    for doc in (doc for split in SPLITS for doc in docs[split]):
        assert [token.text for token in nlp(doc.text)] == [token.text for token in doc]
        assert doc.text == doc.text.strip()


@pytest.mark.parametrize("split", SPLITS)
def test_entities_are_names(docs, split):
    labels = Counter()
    for doc in docs[split]:
        labels.update(ent.label_ for ent in doc.ents)
        for token in doc:
            assert token.ent_type_ or token.tag_ not in ("NNP", "NNPS"), doc.text
        for ent in doc.ents:
            assert ent[0].tag_ == "NNP", doc.text
    assert sorted(labels) == ["GPE", "ORG", "PERSON", "PRODUCT"]


def test_common_noun_and_company_are_annotated_apart(docs):
    tokens = [span[0] for _, span, _ in marked(docs["test"]) if span[0].tag_ in ("NN", "NNP")]
    for token in tokens:
        if token.ent_type_:
            assert (token.pos_, token.lemma_) == ("PROPN", token.text.capitalize())
        else:
            assert (token.pos_, token.lemma_) == ("NOUN", token.lower_)


@pytest.mark.parametrize(
    "text,words",
    [
        ("a old map", ["An", "old", "map"]),
        ("a map", ["A", "map"]),
        ('"/`` a map', ['"', "A", "map"]),
    ],
)
def test_articles_and_capitals(tiny, text, words):
    grammar, lexicon = tiny
    lexicon["tags"].update({"DT": ["DET", ""], "JJ": ["ADJ", ""], "``": ["PUNCT", ""]})
    lexicon["literals"] += [["a", "DT", "a"], ["old", "JJ", "old"], ["map", "NN", "map"]]
    lexicon["literals"] += [['"', "``", '"']]
    grammar["sentences"] = [{"name": "only", "splits": SPLITS, "texts": [text]}]
    writer = make_corpus.Writer(grammar, lexicon, split="train", seed=0)
    sentence = writer.draw_single()[0].sentences[-1]
    assert [token.text for token in sentence] in (words, [word.lower() for word in words])


# The script


def test_same_seed_same_bytes(grammar, lexicon, tmp_path):
    # In another process, since the order of a set of strings differs between processes
    sizes = {"train": 30, "dev": 20, "test": 25}
    options = [arg for name in sizes for arg in (f"--{name}", str(sizes[name]))]
    command = [sys.executable, str(SCRIPT), str(tmp_path / "out"), "--seed", "3", *options]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    corpus = make_corpus.make_corpus(grammar, lexicon, sizes=sizes, seed=3)
    vocab = spacy.blank("en").vocab
    for split, size in sizes.items():
        docs = [make_corpus.to_doc(text, vocab) for text in corpus[split]]
        data = (tmp_path / "out" / f"{split}.spacy").read_bytes()
        assert data == DocBin(docs=docs, store_user_data=False).to_bytes()
        assert len(docs) == size
    read = list(DocBin().from_bytes(data).get_docs(spacy.blank("en").vocab))
    assert [doc.text for doc in read] == [doc.text for doc in docs]
    assert [(s.start, s.label_, g) for _, s, g in marked(read)] == [
        (s.start, s.label_, g) for _, s, g in marked(docs)
    ]
    lines = (tmp_path / "out" / "test.txt").read_text(encoding="utf8").splitlines()
    assert lines == [doc.text for doc in docs]


def test_seeds_differ(grammar, lexicon):
    one, other = (
        make_corpus.make_corpus(grammar, lexicon, sizes={"dev": 10}, seed=seed) for seed in (0, 1)
    )
    assert one != other


# Errors in the data files


@pytest.mark.parametrize(
    "template,message",
    [
        ("{ORG} pays {bank}", r"Unknown slot '\{bank\}' in the template '\{ORG\} pays \{bank\}'"),
        ("{metal:VBZ} pays", r"Unknown slot '\{metal:VBZ\}' in the template"),
        ("{firm:GPE} pays", r"Unknown slot '\{firm:GPE\}' in the template"),
        ("{ORG} sleeps", r"The word 'sleeps' in the template '\{ORG\} sleeps' has 0 entries"),
        ("{ORG} pays/NN", r"The word 'pays/NN' in the template '\{ORG\} pays/NN' has 0 entries"),
    ],
)
def test_unknown_piece_of_a_template(tiny, template, message):
    grammar, lexicon = tiny
    grammar["sentences"][0]["texts"].append(template)
    with pytest.raises(ValueError, match=message):
        make_corpus.Writer(grammar, lexicon, split="train", seed=0)


def test_word_with_two_entries(tiny):
    grammar, lexicon = tiny
    lexicon["literals"].append(["pays", "NN", "pays"])
    with pytest.raises(ValueError, match="'pays' in the template '{ORG} pays' has 2 entries"):
        make_corpus.Writer(grammar, lexicon, split="train", seed=0)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"word": "wood"}, "Unknown word 'wood' in the pair 'tin'"),
        ({"readings": {"ORG": "pays", "VB": "rusts"}}, "Unknown reading 'VB' of 'metal'"),
        ({"readings": {"GPE": "pays", "NN": "rusts"}}, "Unknown reading 'GPE' of 'metal'"),
    ],
)
def test_unknown_word_or_reading_of_a_pair(tiny, change, message):
    grammar, lexicon = tiny
    grammar["pairs"]["company_or_noun"][0].update(change)
    with pytest.raises(ValueError, match=message):
        make_corpus.Writer(grammar, lexicon, split="train", seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"readings": {"ORG": "also pays", "NN": "also rusts"}},  # apart too late
        {"readings": {"ORG": "pays", "NN": "pays"}, "after": ""},  # not apart at all
        {"before": "also"},  # apart at once, by a capital letter
    ],
)
def test_pair_that_parts_elsewhere(tiny, change):
    grammar, lexicon = tiny
    grammar["pairs"]["company_or_noun"][0].update(change)
    writer = make_corpus.Writer(grammar, lexicon, split="train", seed=1)
    with pytest.raises(ValueError, match="The texts of the pair 'tin' part at token"):
        for _ in range(20):  # some draws are in lower case
            writer.draw_pair("company_or_noun", 2)


def test_distance_without_filler(tiny):
    writer = make_corpus.Writer(*tiny, split="train", seed=0)
    assert len(writer.draw_pair("company_or_noun", 2)) == 2
    with pytest.raises(ValueError, match="No pair in 'company_or_noun' has a filler of 4 tokens"):
        writer.draw_pair("company_or_noun", 5)


def test_more_texts_than_there_are(tiny):
    grammar, lexicon = tiny
    grammar["pairs"] = {}
    with pytest.raises(ValueError, match="No new text in 200 draws"):
        make_corpus.make_corpus(grammar, lexicon, sizes={"train": 500}, seed=0)
