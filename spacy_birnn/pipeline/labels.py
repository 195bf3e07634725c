"""Tagging schemes: how spans become one label a token, which sequences are legal, and back."""

from functools import cached_property, lru_cache
from typing import Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from ..crf import Legal


class EntitySpan(NamedTuple):
    """Tokens start to end (exclusive) of a sequence, with the index of an entity label."""

    start: int
    end: int
    label: int


class Scheme:
    """BILUO (begin, inside, last, unit, outside) or BIO (begin, inside, outside) over `n_labels`
    entity labels. Tag 0 is O; each label then has its tags in a row, so that a new label adds tags
    at the end.

    name (str): "BILUO" or "BIO".
    n_labels (int): Number of entity labels.
    """

    def __init__(self, name: str, n_labels: int):
        self.name = name
        self.n_labels = n_labels
        self.prefixes = "BILU" if name == "BILUO" else "BI"
        # Of the tags that a span's last token can have
        self.endings = "LU" if name == "BILUO" else "BI"
        self.n_tags = 1 + n_labels * len(self.prefixes)
        self._opens = np.array([prefix in "BU" for prefix in self.prefixes])

    def tag(self, prefix: str, label: int) -> int:
        """The tag of a prefix ("B", "I", "L", "U") and label."""
        return 1 + label * len(self.prefixes) + self.prefixes.index(prefix)

    def names(self, labels: Sequence[str]) -> List[str]:
        """The name of each tag, such as "B-PERSON", given those of the labels."""
        return ["O"] + [f"{prefix}-{label}" for label in labels for prefix in self.prefixes]

    def tags_with(self, prefixes: str) -> List[int]:
        """All tags with one of the prefixes, whatever the label."""
        used = [p for p in prefixes if p in self.prefixes]
        return [self.tag(prefix, label) for label in range(self.n_labels) for prefix in used]

    def without(self, prefixes: str) -> np.ndarray:
        """All tags but those with one of the prefixes, bool, shape (n_tags,)."""
        tags = np.ones(self.n_tags, dtype=bool)
        tags[self.tags_with(prefixes)] = False
        return tags

    @cached_property
    def opening(self) -> np.ndarray:
        """The tags that a span's first token can have, shape (tags,)."""
        return np.array(self.tags_with("BU"), dtype="int64")

    @cached_property
    def opened(self) -> np.ndarray:
        """The label of each of these."""
        return (self.opening - 1) // len(self.prefixes)

    def legal(self) -> Legal:
        """Which tag may follow which, begin a sequence and end it."""
        return _legal(self.name, self.n_labels)

    def tag_at(self, i: int, label: int, *, last: bool) -> int:
        """The tag of a span's token i, which is its last one or not."""
        if self.name == "BILUO" and last:
            return self.tag("L" if i else "U", label)
        return self.tag("I" if i else "B", label)

    def encode(self, span: EntitySpan) -> List[int]:
        """The tag of each token of a span."""
        n = span.end - span.start
        return [self.tag_at(i, span.label, last=i == n - 1) for i in range(n)]

    def longer(self, label: int) -> Optional[int]:
        """The tag of the token after a span that makes it longer: in BIO the label's I. In BILUO
        the span's own tags say where it ends: None."""
        return None if self.name == "BILUO" else self.tag("I", label)

    def decode(self, tags: np.ndarray) -> List[EntitySpan]:
        """The spans of a legal sequence of tags, int, shape (tokens,), or of several that stand one
        after the other."""
        inside = np.flatnonzero(tags)
        if not len(inside):
            return []
        labels, places = np.divmod(tags[inside] - 1, len(self.prefixes))
        opening = np.flatnonzero(self._opens[places])
        starts = inside[opening]
        ends = starts + np.diff(opening, append=len(inside))
        return list(map(EntitySpan, starts.tolist(), ends.tolist(), labels[opening].tolist()))

    def mask(self, length: int, spans: Iterable[EntitySpan], outside: np.ndarray) -> np.ndarray:
        """The tags that agree with what is known of a sequence.

        length (int): Its number of tokens.
        spans (Iterable[EntitySpan]): Known spans, not overlapping. Of the others, tokens may be of
            any entity or none.
        outside (np.ndarray): Tokens known to be outside, bool, shape (length,).
        RETURNS (np.ndarray): bool, shape (length, n_tags).
        """
        allowed = np.ones((length, self.n_tags), dtype=bool)
        allowed[outside, 1:] = False
        for span in spans:
            allowed[span.start : span.end] = False
            allowed[range(span.start, span.end), self.encode(span)] = True
        for span in spans:
            longer = self.longer(span.label)
            if longer is not None and span.end < length:
                allowed[span.end, longer] = False
        return allowed


# Making one takes longer than a short text has
scheme_of = lru_cache(maxsize=64)(Scheme)


@lru_cache(maxsize=64)
def _legal(name: str, n_labels: int) -> Legal:
    scheme = Scheme(name, n_labels)
    closing = [0] + scheme.tags_with(scheme.endings)
    opening = [0] + scheme.tags_with("BU")
    transitions = np.zeros((scheme.n_tags, scheme.n_tags), dtype=bool)
    transitions[np.ix_(closing, opening)] = True
    inner = "IL" if scheme.name == "BILUO" else "I"
    for label in range(scheme.n_labels):
        open_tags = [scheme.tag("B", label), scheme.tag("I", label)]
        transitions[np.ix_(open_tags, [scheme.tag(p, label) for p in inner])] = True
    start = np.zeros(scheme.n_tags, dtype=bool)
    end = np.zeros(scheme.n_tags, dtype=bool)
    start[opening] = True
    end[closing] = True
    return Legal(transitions, start, end)
