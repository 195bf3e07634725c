"""What to know of annotated documents before a model is trained on them."""

from collections import Counter
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np
from spacy.tokens import Span
from spacy.training import Example

from ..models.vectors import have_vectors
from .corpus import by_part, count_labels, same_text

# A label with fewer examples is hardly learned, and its scores say little
RARE = 10
PERCENTILES = (0, 50, 90, 99, 100)
# Shares from which something is worth advice: of the entities that training has shown, of the words
# that have a vector, and of the tokens with a character that training has not shown
MOSTLY_SEEN, FEW_VECTORS, MANY_UNSEEN = 0.9, 0.5, 0.02
# Of each kind of odd entity what it is, and what to do about it
ODD = {
    "misaligned": (
        "don't begin and end with a token of the pipeline",
        "Nothing is learned from them. Correct their offsets, or change the tokenizer.",
    ),
    "white_space": (
        "begin or end with white space",
        "What is found has none there, so they count as errors. Correct their offsets.",
    ),
    "across_sentences": (
        "cross the start of a sentence",
        "Where sentences are set before entities, such are never found. Correct one of the two.",
    ),
}
Parts = Dict[str, List[Example]]


class Inspection(NamedTuple):
    """What is in the parts of a corpus. The first part is the one to train on.

    parts (Dict[str, Dict[str, int]]): "documents", "tokens" and "entities" of each part.
    lengths (Dict[str, Dict[str, List[int]]]): Percentiles (`PERCENTILES`) of the tokens of
        "documents" and "entities", by part.
    labels (Dict[str, Dict[str, Dict[str, int]]]): How often each part has each label, by kind.
    rare (Dict[str, List[str]]): Labels with fewer than `RARE` examples to train on, by kind.
    unseen (Dict[str, List[str]]): Labels that only other parts have, by kind.
    ambiguous (List[Dict[str, Any]]): Entities ("text") with several "labels", each with its count.
    conflicts (List[str]): Texts that have other categories when they come again.
    known (Dict[str, Dict[str, int]]): Of the other parts, how many "entities" (with their label)
        and "texts" are in the first one, too.
    odd (Dict[str, Dict[str, List[str]]]): By part, entities that do not begin and end with a token
        of the pipeline ("misaligned"), that begin or end with white space ("white_space"), and
        that cross the start of a sentence ("across_sentences").
    vectors (Optional[Dict[str, Any]]): Of the first part, how many "words" (distinct ones) and
        "tokens" there are, how many of them have a vector ("words_have", "tokens_have"), and the
        words without one ("missing"), the most frequent first. None: there are no vectors.
    characters (Dict[str, Any]): "distinct", the number of characters of each part; "unseen", by
        part those that the first one does not have, each with its count, the most frequent first;
        "unseen_tokens", by part how many tokens have such a character; "rows", those of the
        table of characters (None: there is none, or it is not known); and "shared", characters of
        the first part that have a row in common, each with its count, and so are the same to the
        model.
    advice (List[str]): What to do about it.
    """

    parts: Dict[str, Dict[str, int]]
    lengths: Dict[str, Dict[str, List[int]]]
    labels: Dict[str, Dict[str, Dict[str, int]]]
    rare: Dict[str, List[str]]
    unseen: Dict[str, List[str]]
    ambiguous: List[Dict[str, Any]]
    conflicts: List[str]
    known: Dict[str, Dict[str, int]]
    odd: Dict[str, Dict[str, List[str]]]
    vectors: Optional[Dict[str, Any]]
    characters: Dict[str, Any]
    advice: List[str]


def inspect_corpus(
    parts: Parts, kinds: Optional[Set[str]] = None, *, char_rows: Optional[int] = None
) -> Inspection:
    """Look through a corpus.

    parts (Dict[str, List[Example]]): The examples of each part, those to train on first. Each has
        the tokens of the pipeline beside its annotation.
    kinds (Optional[Set[str]]): Which labels to look at, see `count_labels`. None: all that there
        are.
    char_rows (Optional[int]): Rows of the model's table of characters, see `CharRNN`.
    """
    first = next(iter(parts))
    counts = {name: count_labels(eg.y for eg in part) for name, part in parts.items()}
    labels = {
        kind: found for kind, found in by_part(counts).items() if kinds is None or kind in kinds
    }
    ents = {
        name: [ent for eg in part for ent in eg.y.ents] if "entities" in labels else []
        for name, part in parts.items()
    }
    inspection = Inspection(
        parts={
            name: {
                "documents": len(part),
                "tokens": sum(len(eg.x) for eg in part),
                "entities": len(ents[name]),
            }
            for name, part in parts.items()
        },
        lengths={
            name: {
                "documents": _percentiles(len(eg.x) for eg in part),
                "entities": _percentiles(len(ent) for ent in ents[name]),
            }
            for name, part in parts.items()
        },
        labels=labels,
        rare=_labels_with(labels, lambda count: 0 < count[first] < RARE),
        unseen=_labels_with(labels, lambda count: not count[first]),
        ambiguous=_ambiguous(ent for found in ents.values() for ent in found),
        conflicts=_conflicts(parts) if "categories" in labels else [],
        known=_known(parts, ents),
        odd={
            name: _odd_entities(part) if "entities" in labels else {}
            for name, part in parts.items()
        },
        vectors=_vectors(parts[first]),
        characters=_characters(parts, char_rows),
        advice=[],
    )
    return inspection._replace(advice=list(_advice(inspection, parts)))


def _percentiles(values: Iterable[int]) -> List[int]:
    found = list(values)
    if not found:
        return []
    return np.percentile(found, PERCENTILES, method="higher").astype(int).tolist()


def _labels_with(labels: Dict[str, Dict[str, Dict[str, int]]], fits: Any) -> Dict[str, List[str]]:
    found = {k: [label for label, n in counts.items() if fits(n)] for k, counts in labels.items()}
    return {kind: names for kind, names in found.items() if names}


def _ambiguous(ents: Iterable[Span]) -> List[Dict[str, Any]]:
    by_text: Dict[str, Counter] = {}
    for ent in ents:
        by_text.setdefault(ent.text, Counter())[ent.label_] += 1
    several = [(text, found) for text, found in by_text.items() if len(found) > 1]
    several.sort(key=lambda item: -sum(item[1].values()))
    return [{"text": text, "labels": dict(found.most_common())} for text, found in several]


def _conflicts(parts: Parts) -> List[str]:
    by_text: Dict[str, Set[Tuple]] = {}
    for eg in (eg for part in parts.values() for eg in part if eg.y.cats):
        by_text.setdefault(same_text(eg.y), set()).add(tuple(sorted(eg.y.cats.items())))
    return [text for text, found in by_text.items() if len(found) > 1]


def _known(parts: Parts, ents: Dict[str, List[Span]]) -> Dict[str, Dict[str, int]]:
    first, *others = parts
    texts = {same_text(eg.y) for eg in parts[first]}
    forms = {(ent.text, ent.label_) for ent in ents[first]}
    return {
        name: {
            "entities": sum((ent.text, ent.label_) in forms for ent in ents[name]),
            "texts": sum(same_text(eg.y) in texts for eg in parts[name]),
        }
        for name in others
    }


def _odd_entities(part: List[Example]) -> Dict[str, List[str]]:
    odd: Dict[str, List[str]] = {kind: [] for kind in ODD}
    for eg in part:
        same = [token.text for token in eg.x] == [token.text for token in eg.y]
        for ent in eg.y.ents:
            if not same and not eg.get_aligned_spans_y2x([ent]):
                odd["misaligned"].append(ent.text)
            if ent.text != ent.text.strip():
                odd["white_space"].append(ent.text)
            if any(token.is_sent_start for token in ent[1:]):
                odd["across_sentences"].append(ent.text)
    return odd


def _vectors(part: List[Example]) -> Optional[Dict[str, Any]]:
    words = Counter(token.text for eg in part for token in eg.x if not token.is_space)
    if not words or not part[0].x.vocab.vectors_length:
        return None
    names = list(words)
    have = dict(zip(names, have_vectors(part[0].x.vocab, names).tolist()))
    return {
        "words": len(words),
        "words_have": sum(have.values()),
        "tokens": sum(words.values()),
        "tokens_have": sum(n for word, n in words.items() if have[word]),
        "missing": [word for word, _ in words.most_common() if not have[word]],
    }


def _characters(parts: Parts, n_rows: Optional[int]) -> Dict[str, Any]:
    words = {
        name: Counter(token.text for eg in part for token in eg.x if not token.is_space)
        for name, part in parts.items()
    }
    counts: Dict[str, Counter] = {name: Counter() for name in parts}
    for name, found in words.items():
        for word, n in found.items():
            for char in word:
                counts[name][char] += n
    first, *others = parts
    known = counts[first]
    unseen = {
        name: {char: n for char, n in counts[name].most_common() if char not in known}
        for name in others
    }
    by_row: Dict[int, Dict[str, int]] = {}
    if n_rows is not None:
        for char, n in known.most_common():
            by_row.setdefault(ord(char) % n_rows, {})[char] = n
    shared = [found for found in by_row.values() if len(found) > 1]
    # Where one of them is rare, little is lost
    shared.sort(key=lambda found: -sorted(found.values())[-2])
    return {
        "distinct": {name: len(found) for name, found in counts.items()},
        "unseen": unseen,
        "unseen_tokens": {
            name: sum(
                n for word, n in words[name].items() if not unseen[name].keys().isdisjoint(word)
            )
            for name in others
        },
        "rows": n_rows,
        "shared": shared,
    }


def _advice(found: Inspection, parts: Parts) -> Iterable[str]:
    first = next(iter(parts))
    for name, part in parts.items():
        if not part:
            yield f"{name} holds no documents, so nothing says which step of training is the best."
    for kind, labels in found.rare.items():
        names = _some(f"{label} ({found.labels[kind][label][first]})" for label in labels)
        yield (
            f"Labels of {kind} with fewer than {RARE} examples in {first}: {names}. Annotate more, "
            "join them with others, or expect little of them."
        )
    for kind, labels in found.unseen.items():
        yield (
            f"Labels of {kind} that are not in {first} and so can't be learned: {_some(labels)}. "
            "Split the data anew, or leave them out."
        )
    if found.ambiguous:
        shown = _some(f"{one['text']!r} ({_counted(one['labels'])})" for one in found.ambiguous)
        yield (
            f"Entities with several labels: {shown}. Correct the annotation where they don't mean "
            "different things."
        )
    if found.conflicts:
        shown = _some(map(repr, found.conflicts))
        yield f"Texts with different categories in different places: {shown}. Decide for one."
    several = sum(sum(value >= 0.5 for value in eg.y.cats.values()) > 1 for eg in parts[first])
    if several and "categories" in found.labels:
        yield (
            f"Documents of {first} with more than one right category: {several}. They need "
            "birnn_textcat_multilabel."
        )
    for name, known in found.known.items():
        n_docs, n_ents = found.parts[name]["documents"], found.parts[name]["entities"]
        if known["texts"]:
            yield (
                f"Texts of {name} that are in {first}, too: {known['texts']} of {n_docs}. They "
                f"make scores on {name} too high; `birnn convert` keeps equal texts together."
            )
        if n_ents and known["entities"] >= MOSTLY_SEEN * n_ents:
            yield (
                f"Entities of {name} that are in {first}, too: {known['entities'] / n_ents:.0%}. "
                "Scores say little about names that training does not show."
            )
    for name, odd in found.odd.items():
        for kind, (what, advice) in ODD.items():
            if odd.get(kind):
                yield f"Entities of {name} that {what}: {_some(map(repr, odd[kind]))}. {advice}"
    chars = found.characters
    for name, n in chars["unseen_tokens"].items():
        if n > MANY_UNSEEN * found.parts[name]["tokens"]:
            share = n / found.parts[name]["tokens"]
            yield (
                f"{share:.0%} of the tokens of {name} have characters that are not in {first}: "
                f"{_some(map(repr, chars['unseen'][name]))}. Training teaches nothing of them. Are "
                "these texts of the same kind, and of the same encoding?"
            )
    often = [one for one in chars["shared"] if sorted(one.values())[-2] >= RARE]
    if often:
        yield (
            f"Characters that are the same to the model, as its table has {chars['rows']} rows: "
            f"{_some(' and '.join(map(repr, one)) for one in often)}. Give spacy-birnn.CharRNN.v1 "
            "more rows."
        )
    vectors = found.vectors
    if vectors and vectors["tokens_have"] < FEW_VECTORS * vectors["tokens"]:
        share = vectors["tokens_have"] / vectors["tokens"]
        yield (
            f"Only {share:.0%} of the tokens of {first} have a vector. Are the vectors those of "
            "this language and of such texts?"
        )


def _counted(counts: Dict[str, int]) -> str:
    return ", ".join(f"{label} {n}" for label, n in counts.items())


def _some(texts: Iterable[str], n: int = 5) -> str:
    every = list(texts)
    return ", ".join(every[:n]) + f" and {len(every) - n} more" * (len(every) > n)
