"""How probable each entity is, kept with the document."""

from bisect import bisect_left
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
from spacy.tokens import Doc, Span, SpanGroup

# The span group that holds a document's entities
CONFIDENCE_KEY = "birnn_ner"


class EntityGroup(SpanGroup):
    """A document's entities, with the probability of each in attrs["scores"], as in the groups of
    spaCy's spancat. When tokens are merged or split, spaCy leaves span groups as they are, and what
    they hold then is wrong or out of range; this one finds its entities again by their characters,
    attrs["places"]. One that was loaded or copied is a plain group.

    doc (Doc): The document.
    ents (List[Span]): Its entities, in order.
    scores (List[float]): The probability of each.
    """

    def __init__(self, doc: Doc, ents: List[Span], scores: List[float]):
        attrs = {"scores": np.array(scores), "places": [_place(ent) for ent in ents]}
        super().__init__(doc, name=CONFIDENCE_KEY, spans=ents, attrs=attrs)
        self._found = [(ent.start, ent.end, *_place(ent)) for ent in ents]

    def __len__(self) -> int:
        self._follow()
        return super().__len__()

    def __getitem__(self, i: int) -> Span:
        if self._has_moved(i):
            self._follow()
        return super().__getitem__(i)

    def __iter__(self) -> Iterator[Span]:
        self._follow()
        return (super(EntityGroup, self).__getitem__(i) for i in range(super().__len__()))

    def to_bytes(self) -> bytes:
        self._follow()
        return super().to_bytes()

    def _has_moved(self, i: int) -> bool:
        if not -len(self._found) <= i < len(self._found):
            return False
        start, end, start_char, end_char, _ = self._found[i]
        span = self.doc[start:end]
        return (span.start_char, span.end_char) != (start_char, end_char)

    def _follow(self) -> None:
        # One that was added to is no longer ours
        ours = super().__len__() == len(self._found)
        if not ours or not any(self._has_moved(i) for i in range(len(self._found))):
            return
        spans = [
            self.doc.char_span(first, last, label=label) for _, _, first, last, label in self._found
        ]
        ents = [span for span in spans if span is not None]
        scores = [s for s, span in zip(self.attrs["scores"], spans) if span is not None]
        now = EntityGroup(self.doc, ents, scores)
        self.from_bytes(SpanGroup(self.doc, name=self.name, spans=ents).to_bytes())
        self.attrs, self._found = now.attrs, now._found


def get_confidence(span: Span) -> Optional[float]:
    """The getter behind `ent._.confidence`: the probability of an entity that `birnn_ner` found, 1
    for one that it was given, None for any other span, and where the document has lost it."""
    group = span.doc.spans.get(CONFIDENCE_KEY)
    attrs: Dict[str, Any] = {} if group is None else group.attrs
    places: List[List[Any]] = attrs.get("places", [])
    place = _place(span)
    i = bisect_left(places, place)
    return float(attrs["scores"][i]) if places[i : i + 1] == [place] else None


def _place(span: Span) -> List[Any]:
    return [span.start_char, span.end_char, span.label_]


if not Span.has_extension("confidence"):
    Span.set_extension("confidence", getter=get_confidence)
