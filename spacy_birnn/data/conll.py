"""Columns with a token in each row: tags of entities in any scheme, and CoNLL-U."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple

from spacy.tokens import Doc, Span
from spacy.training.converters import conllu_to_docs
from spacy.vocab import Vocab

from ..errors import BirnnError, Errors
from .records import LabelledSpan, Record, malformed

# The tags of an entity's first token, of one inside, of its last, and of the only one
TAG = re.compile(r"O|[BIMELSU]-\S.*")
BEGIN, INSIDE, END, SINGLE = "B", "IM", "EL", "SU"
# What is left out or is odd
NO_TOKEN = "rows without a token"
BROKEN_TAGS = "tags that do not fit their scheme"
MERGED = "tokens of several words whose parts do not spell them, kept whole"


def columns_of(line: str) -> List[str]:
    """The columns of a row, between tabs if it has any, otherwise between blanks."""
    line = line.rstrip("\r")
    return line.split("\t") if "\t" in line else [part for part in line.split(" ") if part]


def read_conll(path: Path, text: str, notes: Counter) -> Tuple[str, List[Record]]:
    """The sentences of rows with a token first and a tag last, and the scheme of the tags. The tags
    of all schemes are read alike: an entity begins where one cannot go on."""
    records: List[Record] = []
    every: List[List[str]] = []
    words: List[str] = []
    tags: List[str] = []
    begin = 1
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        where = f"'{path}', line {number}"
        row = columns_of(line)
        is_start = line.startswith("-DOCSTART-")
        if not line.strip() or is_start:
            if words:
                records.append(Record(f"'{path}', line {begin}", words, spans_of_tags(tags), None))
                every.append(tags)
            words, tags, begin = [], [], number + 1
        elif not words and line.startswith("#") and not TAG.fullmatch(row[-1].strip()):
            begin = number + 1  # a comment
        elif len(row) > 1 and not row[0].strip() and row[-1].strip() == "O":
            notes[NO_TOKEN] += 1
        elif len(row) < 2 or not row[0].strip():
            raise malformed(where, line, "a token, white space and a tag such as 'O' or 'B-LOC'")
        else:
            words.append(row[0])
            tags += checked_tags(where, [row[-1].strip()])
    scheme, n_broken = _scheme(every)
    notes[BROKEN_TAGS] += n_broken
    return scheme, records


def checked_tags(where: str, tags: List[Any]) -> List[str]:
    for tag in tags:
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            expected = "'O', or B, I, E, S, L or U with a hyphen and a label, such as 'B-LOC'"
            raise malformed(where, tag, f"a tag: {expected}")
    return tags


def spans_of_tags(tags: Sequence[str]) -> List[LabelledSpan]:
    """The entities of a sequence of tags in IOB, IOB2, BIOES or BILUO.

    tags (Sequence[str]): "O", or a prefix, a hyphen and a label. A tag that goes on with an entity
        that there is not begins one.
    RETURNS (List[LabelledSpan]): The start, the end (exclusive) and the label of each.
    """
    spans: List[LabelledSpan] = []
    is_open = False
    for i, tag in enumerate(tags):
        if tag == "O":
            is_open = False
            continue
        prefix, label = tag[0], tag[2:]
        if is_open and prefix in INSIDE + END and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], i + 1, label)
        else:
            spans.append((i, i + 1, label))
        is_open = prefix in BEGIN + INSIDE
    return spans


def _scheme(sequences: List[List[str]]) -> Tuple[str, int]:
    """Which scheme tags are in, and how many break its rules."""
    prefixes = {tag[0] for tags in sequences for tag in tags if tag != "O"}
    pairs = [pair for tags in sequences for pair in zip(["O", *tags], [*tags, "O"])]
    # A tag that goes on with no entity of its label, and one that ends no entity but is the last
    orphans = sum(b[0] in INSIDE + END and not _goes_on(a, b) for a, b in pairs)
    if prefixes & set(END + SINGLE):
        unclosed = sum(a[0] in BEGIN + INSIDE and not _goes_on(a, b) for a, b in pairs)
        return "BILUO" if prefixes & set("LU") else "BIOES", orphans + unclosed
    # In IOB an entity begins with I, and with B only after another of its label
    needed = sum(b[0] == "B" and a[1:] == b[1:] for a, b in pairs)
    begun = sum(b[0] == "B" for a, b in pairs)
    return ("IOB", 0) if orphans and begun == needed else ("IOB2", orphans)


def _goes_on(tag: str, following: str) -> bool:
    return tag[0] in BEGIN + INSIDE and following[0] in INSIDE + END and tag[1:] == following[1:]


# CoNLL-U


def read_conllu(path: Path, text: str, notes: Counter) -> Iterator[Doc]:
    """The sentences as spaCy's converter reads them. A token of several words (such as "du" for
    "de" and "le") stays whole unless its words spell it: the text is what was written."""
    sentences: List[str] = []
    rows: List[List[str]] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        where = f"'{path}', line {number}"
        line = line.rstrip("\r")
        if line.startswith("#"):
            continue
        if line.strip():
            row = line.split("\t")
            if len(row) != 10 or not re.fullmatch(r"\d+([-.]\d+)?", row[0]) or not row[1]:
                raise malformed(where, line, "the 10 columns of CoNLL-U, with tabs between them")
            rows.append(row)
        elif rows:
            _check_ids(f"'{path}', the sentence that ends in line {number - 1}", rows)
            sentences.append("\n".join("\t".join(row) for row in _split_words(rows, notes)))
            rows = []
    if not sentences:
        raise BirnnError(Errors.E070.format(path=path))
    joined = "\n\n".join(sentences)
    try:
        docs = list(conllu_to_docs(joined, n_sents=1, merge_subtokens=True, no_print=True))
    except ValueError as e:
        raise BirnnError(Errors.E074.format(where=f"'{path}'", reason=e)) from e
    vocab = Vocab()
    for doc in docs:
        yield _without_blanks(doc, vocab)


def _check_ids(where: str, rows: List[List[str]]) -> None:
    words = [row for row in rows if row[0].isdecimal()]
    if not words or [int(row[0]) for row in words] != list(range(1, len(words) + 1)):
        found = [row[0] for row in rows]
        raise malformed(where, found, "the words numbered from 1")
    for row in words:
        if row[6] != "_" and not (row[6].isdecimal() and int(row[6]) <= len(words)):
            raise malformed(where, row[6], f"a head from 0 to {len(words)} for word {row[0]}")
    for row in rows:
        start, hyphen, end = row[0].partition("-")
        if hyphen and not 1 <= int(start) <= int(end) <= len(words):
            raise malformed(where, row[0], f"a range from 1 to {len(words)}")


def _split_words(rows: List[List[str]], notes: Counter) -> List[List[str]]:
    """The rows of a sentence without the tokens that their words spell."""
    kept = []
    by_id = {row[0]: row for row in rows}
    for row in rows:
        start, hyphen, end = row[0].partition("-")
        words = [by_id[str(i)] for i in range(int(start), int(end) + 1)] if hyphen else []
        if hyphen and "".join(word[1] for word in words) == row[1]:
            for word in words[:-1] + words[-1:] * ("SpaceAfter=No" in row[9]):
                word[9] += "|SpaceAfter=No"
        else:
            notes[MERGED] += bool(hyphen)
            kept.append(row)
    return kept


def _without_blanks(doc: Doc, vocab: Vocab) -> Doc:
    """A copy in which what the treebank leaves out, "_", is missing instead of a label."""

    def values(name: str) -> List[str]:
        found = [getattr(token, name) for token in doc]
        return ["" if v == "_" and t.text != "_" else v for v, t in zip(found, doc)]

    deps = values("dep_")
    has_heads = any(deps)
    copy = Doc(
        vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        tags=values("tag_"),
        pos=values("pos_"),
        morphs=[str(token.morph) for token in doc],
        lemmas=values("lemma_"),
        heads=[token.head.i for token in doc] if has_heads else None,
        deps=deps if has_heads else None,
    )
    if doc.has_annotation("ENT_IOB"):
        copy.ents = [Span(copy, ent.start, ent.end, ent.label_) for ent in doc.ents]
    return copy
