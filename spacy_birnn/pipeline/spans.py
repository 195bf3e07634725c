"""What a chain of tags says of the entities of a document: how probable each is, and which are
probable enough."""

from typing import List, NamedTuple, Set, Tuple

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

    def probable(self, openings: Set[Tuple[int, int]], thresholds: np.ndarray) -> List[EntitySpan]:
        """The entities with at least the probability that their label needs, in order; of those
        that overlap the most probable. They begin at the given rows of the batch, with the given
        labels."""
        if not openings:
            return []
        candidates = []
        for row, label in openings:
            start, then, threshold = row - self.offset, self.scheme.after(label), thresholds[label]
            # The tokens of an entity that goes on after them: no longer one is more probable
            unfinished = Prefix(row)
            for end in range(start + 1, self.length + 1):
                whole = self._extend(unfinished, row, label, last=True)
                follows = then if end < self.length else None
                probability = crf.prefix_marginal(self.chain, whole, follows)
                if probability >= threshold:
                    candidates.append((probability, EntitySpan(start, end, label)))
                unfinished = self._extend(unfinished, row, label, last=False)
                if crf.prefix_marginal(self.chain, unfinished) < threshold:
                    break
        chosen: List[EntitySpan] = []
        taken = np.zeros(self.length, dtype=bool)
        for _, span in sorted(candidates, key=lambda pair: (-pair[0], pair[1])):
            if not taken[span.start : span.end].any():
                chosen.append(span)
                taken[span.start : span.end] = True
        return sorted(chosen)

    def _extend(self, prefix: Prefix, row: int, label: int, *, last: bool) -> Prefix:
        """The entity that begins in the row, with one token more."""
        tag = self.scheme.tag_at(prefix.end - row, label, last=last)
        return crf.extend(self.chain, prefix, tag)
