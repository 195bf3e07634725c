"""What a chain of tags says of the entities of a document: how probable each is, and which are
probable enough."""

from bisect import bisect_right
from itertools import accumulate
from typing import Iterable, Iterator, List, NamedTuple, Set, Tuple, cast

import numpy as np

from ..crf import Chain, Posterior
from .labels import EntitySpan, Scheme

# An entity with its probability
Candidate = Tuple[float, EntitySpan]


class DocChain(NamedTuple):
    """One document's rows of a batch.

    posterior (Posterior): That of the batch, of dependent labels.
    scheme (Scheme): What the tags mean.
    offset (int): The document's first row.
    length (int): Its number of tokens.
    """

    posterior: Posterior
    scheme: Scheme
    offset: int
    length: int

    def probability(self, span: EntitySpan) -> float:
        """The probability of exactly this entity."""
        tags = self.scheme.encode(span)
        probability = self.posterior.span(self.offset + span.start, tags)
        return probability * self._ends(span, tags[-1]) if probability else 0.0

    def candidates(self, openings: Iterable[EntitySpan], thresholds: np.ndarray) -> List[Candidate]:
        """The entities that begin as one of the spans and have at least the probability that their
        label needs, which is above 0; they may overlap. The most probable first."""
        found = [
            candidate
            for span in openings
            for candidate in self._beginning(span.start, span.label, thresholds[span.label])
        ]
        return sorted(found, key=lambda candidate: (-candidate[0], candidate[1]))

    def _beginning(self, start: int, label: int, threshold: float) -> Iterator[Candidate]:
        # Of each tag of a token, with those before it in an entity that goes on
        probabilities = self.posterior.marginals[self.offset + start]
        for end in range(start + 1, self.length + 1):
            i, span = end - 1 - start, EntitySpan(start, end, label)
            last, inside = (self.scheme.tag_at(i, label, last=is_last) for is_last in (True, False))
            if probabilities[last] >= threshold:
                probability = min(1.0, float(probabilities[last] * self._ends(span, last)))
                if probability >= threshold:
                    yield probability, span
            # No longer one is more probable
            if probabilities[inside] < threshold or end == self.length:
                break
            probabilities = probabilities[inside] * self.chain.after(self.offset + end, inside)

    @property
    def chain(self) -> Chain:
        return cast(Chain, self.posterior.chain)

    def _ends(self, span: EntitySpan, last: int) -> float:
        """The probability that an entity is no longer than a span, given its last tag."""
        longer = self.scheme.longer(span.label)
        if longer is None or span.end == self.length:
            return 1.0
        return 1.0 - self.chain.after(self.offset + span.end, last)[longer]


def first_disjoint(candidates: Iterable[Candidate]) -> List[Candidate]:
    """Of spans that overlap the one that comes first; those that are left in the order of the
    document."""
    chosen: List[Candidate] = []
    taken: Set[int] = set()
    for candidate in candidates:
        _, span = candidate
        tokens = range(span.start, span.end)
        if taken.isdisjoint(tokens):
            chosen.append(candidate)
            taken.update(tokens)
    return sorted(chosen, key=lambda candidate: candidate[1])


def by_sequence(spans: Iterable[EntitySpan], lengths: List[int]) -> List[List[EntitySpan]]:
    """The spans of each sequence of a batch, from spans of the batch's rows, each in one sequence.

    lengths (List[int]): The tokens of each sequence.
    """
    found: List[List[EntitySpan]] = [[] for _ in lengths]
    ends = list(accumulate(lengths))
    for start, end, label in spans:
        i = bisect_right(ends, start)
        offset = ends[i] - lengths[i]
        found[i].append(EntitySpan(start - offset, end - offset, label))
    return found
