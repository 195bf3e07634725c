"""What a chain of tags says of the entities of a document: how probable each is, and which are
probable enough."""

from typing import Iterable, List, NamedTuple, Set, Tuple

import numpy as np

from .. import crf
from ..crf import Chain, LabelledSpan, Prefix
from .labels import EntitySpan, Scheme


class DocChain(NamedTuple):
    """One document's rows of a batch.

    chain (Chain): What the posterior of the batch has.
    scheme (Scheme): What the tags mean.
    offset (int): The document's first row.
    length (int): Its number of tokens.
    """

    chain: Chain
    scheme: Scheme
    offset: int
    length: int

    def probability(self, span: EntitySpan) -> float:
        """The probability of exactly this entity."""
        then = self.scheme.after(span.label) if span.end < self.length else None
        labelled = LabelledSpan(self.offset + span.start, self.scheme.encode(span), then)
        return crf.span_marginal(self.chain, labelled)

    def candidates(
        self, openings: Set[Tuple[int, int]], thresholds: np.ndarray
    ) -> List[Tuple[float, EntitySpan]]:
        """The entities with at least the probability that their label needs, which may overlap,
        each with its probability; the most probable first. They begin at the given rows of the
        batch, with the given labels."""
        found = []
        for row, label in openings:
            start, then, threshold = row - self.offset, self.scheme.after(label), thresholds[label]
            # The tokens of an entity that goes on after them: no longer one is more probable
            unfinished = Prefix(row)
            for end in range(start + 1, self.length + 1):
                whole = self._extend(unfinished, row, label, last=True)
                follows = then if end < self.length else None
                probability = crf.prefix_marginal(self.chain, whole, follows)
                if probability >= threshold:
                    found.append((probability, EntitySpan(start, end, label)))
                unfinished = self._extend(unfinished, row, label, last=False)
                if crf.prefix_marginal(self.chain, unfinished) < threshold:
                    break
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))

    def _extend(self, prefix: Prefix, row: int, label: int, *, last: bool) -> Prefix:
        """The entity that begins in the row, with one token more."""
        tag = self.scheme.tag_at(prefix.end - row, label, last=last)
        return crf.extend(self.chain, prefix, tag)


def first_disjoint(spans: Iterable[EntitySpan]) -> List[EntitySpan]:
    """Of spans that overlap the one that comes first; those that are left in the order of the
    document."""
    chosen: List[EntitySpan] = []
    taken: Set[int] = set()
    for span in spans:
        tokens = range(span.start, span.end)
        if taken.isdisjoint(tokens):
            chosen.append(span)
            taken.update(tokens)
    return sorted(chosen)
