from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_birnn.pipeline.labels import EntitySpan, Scheme

SCHEMES = [(name, n_labels) for name in ("BIO", "BILUO") for n_labels in (1, 2)]


def name_of(scheme, tag):
    """ "O", or prefix and label such as "B0"."""
    if tag == 0:
        return "O"
    label, place = divmod(tag - 1, len(scheme.prefixes))
    return f"{scheme.prefixes[place]}{label}"


def is_legal(name, tags):
    """The definition, read from left to right: an entity that began goes on as the same label until
    its last token, which BILUO marks."""
    open_label = None  # the label of an entity that may (BIO) or must (BILUO) go on
    for tag in tags:
        prefix, label = tag[0], tag[1:]
        if prefix in "IL" and label != open_label:
            return False
        if name == "BILUO" and prefix in "OBU" and open_label is not None:
            return False
        open_label = label if prefix in "BI" else None
    return name == "BIO" or open_label is None


@st.composite
def spans_of_a_sequence(draw):
    length = draw(st.integers(0, 8))
    n_labels = draw(st.integers(1, 3))
    spans, start = [], 0
    while start < length:
        if draw(st.booleans()):
            end = draw(st.integers(start + 1, length))
            spans.append(EntitySpan(start, end, draw(st.integers(0, n_labels - 1))))
            start = end
        else:
            start += 1
    return length, n_labels, spans


def encode_all(scheme, length, spans):
    tags = [0] * length
    for span in spans:
        tags[span.start : span.end] = scheme.encode(span)
    return tags


def allows(legal, tags):
    inner = all(legal.transitions[a, b] for a, b in zip(tags, tags[1:]))
    return bool(legal.start[tags[0]] and inner and legal.end[tags[-1]])


@pytest.mark.parametrize("name, n_labels", SCHEMES)
def test_legal_sequences_are_those_of_the_definition(name, n_labels):
    scheme = Scheme(name, n_labels)
    legal = scheme.legal()
    n_legal = 0
    for length in (1, 2, 3):
        for tags in product(range(scheme.n_tags), repeat=length):
            expected = is_legal(name, [name_of(scheme, tag) for tag in tags])
            assert allows(legal, tags) == expected, [name_of(scheme, tag) for tag in tags]
            n_legal += expected
    assert n_legal > 3


@pytest.mark.parametrize("name", ["BIO", "BILUO"])
@given(case=spans_of_a_sequence())
def test_encoded_spans_are_legal_and_decode_to_themselves(name, case):
    length, n_labels, spans = case
    scheme = Scheme(name, n_labels)
    tags = encode_all(scheme, length, spans)
    assert scheme.decode(np.array(tags, dtype="int64")) == spans
    assert not tags or allows(scheme.legal(), tags)


@pytest.mark.parametrize("name", ["BIO", "BILUO"])
@given(case=spans_of_a_sequence(), data=st.data())
def test_the_mask_leaves_just_what_agrees_with_the_annotation(name, case, data):
    """Every legal sequence passes the mask if and only if its spans include the known ones and its
    tokens known to be outside are outside."""
    length, n_labels, spans = case
    length, n_labels = min(length, 4 if name == "BIO" else 3), min(n_labels, 2)
    spans = [span for span in spans if span.end <= length and span.label < n_labels]
    free = [i for i in range(length) if not any(s.start <= i < s.end for s in spans)]
    outside = np.zeros(length, dtype=bool)
    outside[[i for i in free if data.draw(st.booleans())]] = True
    scheme = Scheme(name, n_labels)
    mask, legal = scheme.mask(length, spans, outside), scheme.legal()
    assert mask.shape == (length, scheme.n_tags)
    for tags in product(range(scheme.n_tags), repeat=length):
        if tags and allows(legal, tags):
            agrees = set(spans) <= set(scheme.decode(np.array(tags))) and not np.any(
                np.array(tags)[outside]
            )
            assert all(mask[range(length), tags]) == agrees


@pytest.mark.parametrize("name", ["BIO", "BILUO"])
def test_a_new_label_adds_tags_at_the_end(name):
    before, after = Scheme(name, 2), Scheme(name, 3)
    for prefix in before.prefixes:
        assert [after.tag(prefix, label) for label in range(2)] == [
            before.tag(prefix, label) for label in range(2)
        ]
        assert before.n_tags <= after.tag(prefix, 2) < after.n_tags


def test_no_labels_leave_only_outside():
    scheme = Scheme("BILUO", 0)
    assert scheme.n_tags == 1 and allows(scheme.legal(), [0, 0])
