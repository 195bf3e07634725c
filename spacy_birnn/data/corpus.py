"""Annotated texts as documents of spaCy, in parts for training and evaluation."""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple, Union

from spacy.attrs import DEP, ENT_IOB, ENT_TYPE, HEAD, LEMMA, MORPH, ORTH, POS, SPACY, TAG
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans

from ..errors import BirnnError, Errors
from ..files import naming
from .records import LabelledSpan, Record

# What makes two documents of a text the same
ATTRS = [ORTH, SPACY, ENT_IOB, ENT_TYPE, TAG, POS, MORPH, LEMMA, HEAD, DEP]


class LostSpan(NamedTuple):
    """An annotated span that could not be kept: the file and line of its text, its own text, and
    its label."""

    where: str
    text: str
    label: str


class Corpus(NamedTuple):
    """Documents, and what of their annotation could not be kept.

    docs (List[Doc]): The documents.
    misaligned (List[LostSpan]): Spans that do not begin and end with a token. The tokens that they
        touch are missing annotation, from which nothing is learned.
    overlaps (List[LostSpan]): Spans that were dropped for one that they overlap: the longer one
        stays, of two of the same length the first.
    n_trimmed (int): Spans that had white space at their ends, which was left out of them.
    """

    docs: List[Doc]
    misaligned: List[LostSpan]
    overlaps: List[LostSpan]
    n_trimmed: int


def to_corpus(records: Iterable[Union[Record, Doc]], nlp: Language, labels: Set[str]) -> Corpus:
    """Make documents of records.

    records (Iterable[Union[Record, Doc]]): As `formats.read_file` gives them.
    nlp (Language): The pipeline whose tokenizer is used on texts.
    labels (Set[str]): All categories, see `category_labels`. Where a record names those that are
        right, the others are wrong.
    RAISES (ValueError): E074 for a text that spaCy refuses, such as one of more than
        `nlp.max_length` characters.
    """
    corpus = Corpus([], [], [], 0)
    for record in records:
        if isinstance(record, Record):
            try:
                doc = _make_doc(record, nlp, labels)
                found, lost, n_trimmed = _align(doc, record)
            except ValueError as e:
                raise BirnnError(Errors.E074.format(where=record.where, reason=e)) from e
            dropped = _set_entities(doc, found, lost) if record.spans is not None else []
            text = doc.text if isinstance(record.text, list) else record.text
            corpus.misaligned.extend(LostSpan(record.where, text[s:e], name) for s, e, name in lost)
            corpus.overlaps.extend(LostSpan(record.where, e.text, e.label_) for e in dropped)
            corpus = corpus._replace(n_trimmed=corpus.n_trimmed + n_trimmed)
        else:
            doc = record
        corpus.docs.append(doc)
    return corpus


def category_labels(records: Iterable[Union[Record, Doc]]) -> Set[str]:
    """The categories that records name."""
    return {label for r in records if isinstance(r, Record) for label in r.cats or ()}


def _make_doc(record: Record, nlp: Language, labels: Set[str]) -> Doc:
    if isinstance(record.text, str):
        doc = nlp.make_doc(record.text)
    else:
        # The document notes that its spaces are not known, so that training keeps the tokens
        doc = Doc(nlp.vocab, words=record.text)
    if isinstance(record.cats, dict):
        doc.cats = record.cats
    elif record.cats is not None:
        doc.cats = {label: float(label in record.cats) for label in sorted(labels)}
    return doc


def _align(doc: Doc, record: Record) -> Tuple[List[Span], List[LabelledSpan], int]:
    """The spans of tokens, the spans of characters that are none, and how many of the former had
    white space at their ends."""
    spans = list(dict.fromkeys(record.spans or ()))
    if isinstance(record.text, list):
        return [Span(doc, start, end, label) for start, end, label in spans], [], 0
    found, lost, n_trimmed = [], [], 0
    for start, end, label in spans:
        part = record.text[start:end]
        first = start + len(part) - len(part.lstrip())
        span = doc.char_span(first, first + len(part.strip()), label) if part.strip() else None
        if span is None:
            lost.append((start, end, label))
        else:
            found.append(span)
            n_trimmed += part != part.strip()
    return found, lost, n_trimmed


def _set_entities(doc: Doc, found: List[Span], lost: List[LabelledSpan]) -> List[Span]:
    """Set those that do not overlap. RETURNS (List[Span]): The others."""
    kept = filter_spans(found)
    free = {token.i for token in doc}.difference(*(range(ent.start, ent.end) for ent in kept))
    missing = [
        doc[token.i : token.i + 1]
        for token in doc
        if token.i in free
        and any(token.idx < end and token.idx + len(token) > start for start, end, _ in lost)
    ]
    doc.set_ents(kept, missing=missing, default="outside")
    # The label counts: of two on the same tokens one is dropped
    of_kept = {(ent.start, ent.end, ent.label) for ent in kept}
    return [ent for ent in found if (ent.start, ent.end, ent.label) not in of_kept]


class Duplicates(NamedTuple):
    """What several documents with the same text were.

    n_dropped (int): Documents that were the same as an earlier one in text and annotation.
    n_conflicts (int): Texts with several annotations, which were kept.
    """

    n_dropped: int
    n_conflicts: int


def drop_duplicates(docs: Iterable[Doc]) -> Tuple[List[Doc], Duplicates]:
    """Keep the first of the documents that are the same in text and annotation."""
    kept: Dict[Tuple, Doc] = {}
    n = 0
    for doc in docs:
        n += 1
        key = (doc.text, doc.to_array(ATTRS).tobytes(), tuple(sorted(doc.cats.items())))
        kept.setdefault(key, doc)
    variants = Counter(text for text, *_ in kept)
    n_conflicts = sum(count > 1 for count in variants.values())
    return list(kept.values()), Duplicates(n - len(kept), n_conflicts)


def same_text(doc: Doc) -> str:
    """What documents with the same text, but for white space, share."""
    return " ".join(doc.text.split())


def split_docs(docs: Sequence[Doc], shares: Dict[str, float], *, seed: int) -> Dict[str, List[Doc]]:
    """Share documents out at random. Those with the same text, but for white space, stay together.

    docs (Sequence[Doc]): The documents. In each part they keep their order.
    shares (Dict[str, float]): The size of each part in relation to the others, more than 0.
    seed (int): The same seed gives the same parts.
    RAISES (ValueError): E081 if there are too few documents for a part.
    """
    groups: Dict[str, List[int]] = {}
    for i, doc in enumerate(docs):
        groups.setdefault(same_text(doc), []).append(i)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    wanted = {name: share / sum(shares.values()) * len(docs) for name, share in shares.items()}
    places: Dict[str, List[int]] = {name: [] for name in shares}
    for group in order:
        emptiest = min(shares, key=lambda name: len(places[name]) / wanted[name])
        places[emptiest] += group
    for name, found in places.items():
        if not found:
            raise BirnnError(Errors.E081.format(part=name, n=len(groups)))
    return {name: [docs[i] for i in sorted(found)] for name, found in places.items()}


def write_docs(parts: Dict[Path, List[Doc]]) -> None:
    """Write .spacy files, all of them or, where that fails, none. Their folders are made."""
    unfinished = {path: path.with_name(f".{path.name}.part") for path in parts}
    try:
        for path, docs in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                unfinished[path].write_bytes(DocBin(docs=docs, store_user_data=False).to_bytes())
        for path, part in unfinished.items():
            os.replace(part, path)
    finally:
        for part in unfinished.values():
            part.unlink(missing_ok=True)


def count_labels(docs: Iterable[Doc]) -> Dict[str, Counter]:
    """How often documents have each label, by what is annotated: "entities", "categories" (those
    that are right), "tags" and "morphology" (part of speech and features)."""
    counts: Dict[str, Counter] = {
        kind: Counter() for kind in ("entities", "categories", "tags", "morphology")
    }
    for doc in docs:
        counts["entities"].update(ent.label_ for ent in doc.ents)
        counts["categories"].update({label: int(value >= 0.5) for label, value in doc.cats.items()})
        counts["tags"].update(token.tag_ for token in doc if token.tag)
        analyses = ((token.pos_, str(token.morph)) for token in doc if token.pos or token.morph)
        counts["morphology"].update(" ".join(filter(None, analysis)) for analysis in analyses)
    return {kind: count for kind, count in counts.items() if count}


def can_teach(docs: Sequence[Doc]) -> bool:
    """Whether documents have any label, lemma, tree or sentence to learn from."""
    # To spaCy the start of a sentence is annotated in every document of one token
    others = (("LEMMA", 1), ("DEP", 1), ("SENT_START", 2))
    return bool(count_labels(docs)) or any(
        len(doc) >= least and doc.has_annotation(name) for doc in docs for name, least in others
    )


def by_part(counts: Dict[str, Dict[str, Counter]]) -> Dict[str, Dict[str, Dict[str, int]]]:
    """What `count_labels` says of each part, turned about: by kind, label (the most frequent first)
    and part."""
    total: Dict[str, Counter] = {}
    for count in counts.values():
        for kind, found in count.items():
            total.setdefault(kind, Counter()).update(found)
    return {
        kind: {
            label: {part: count.get(kind, Counter())[label] for part, count in counts.items()}
            for label, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))
        }
        for kind, found in total.items()
    }
