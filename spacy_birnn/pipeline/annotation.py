"""What a document says of its entities, on the tokens that a model reads."""

from typing import List, NamedTuple, Tuple

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, ORTH, SENT_START
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import Warnings
from .labels import Scheme


class Annotation(NamedTuple):
    """What is known of the entities of one document: the start, the end and the label of each; the
    tokens outside, bool, shape (tokens,); and what could not be used as it is, by the code of its
    warning and with its text."""

    ents: List[Tuple[int, int, str]]
    outside: np.ndarray
    faults: List[Tuple[str, str]]


def read_annotation(eg: Example, scheme: Scheme) -> Annotation:
    """What an example's annotation says of the entities on the tokens of `eg.x`, so far as
    `BiRNNEntityRecognizer.allowed_mask` lets them be found: training must not teach what decoding
    forbids.

    scheme (Scheme): The tagging scheme. With BIO an entity has no white space inside.
    """
    same = _same_tokens(eg)
    # None where the tokens do not align: missing, as 0
    iob = eg.y.to_array(ENT_IOB) if same else [i or 0 for i in eg.get_aligned("ENT_IOB")]
    found = Annotation([], np.array(iob, dtype="int64") == 2, [])
    if not eg.y.ents:
        return found
    space, continues, _ = boundaries([eg.x])
    for ent in eg.y.ents:
        aligned = [ent] if same else eg.get_aligned_spans_y2x([ent])
        if not aligned:
            found.faults.append((Warnings.W001, ent.text))
            continue
        (span,) = aligned
        start, end = span.start, span.end
        while start < end and space[start]:
            start += 1
        while start < end and space[end - 1]:
            end -= 1
        if end - start < len(span):
            found.faults.append((Warnings.W009, ent.text))
            found.outside[span.start : start] = found.outside[end : span.end] = True
        broken = "I" in scheme.endings and space[start:end].any()
        if broken or continues[start + 1 : end].any():
            found.faults.append((Warnings.W010, ent.text))
        elif start < end:
            found.ents.append((start, end, ent.label_))
    return found


def blocked(doc: Doc) -> List[Span]:
    """The tokens of which an earlier component said that they are in no entity, for good: they
    begin an entity of no kind."""
    if not doc.has_annotation("ENT_IOB"):
        return []
    iob, kind = doc.to_array([ENT_IOB, ENT_TYPE]).T
    return [doc[i : i + 1] for i in np.flatnonzero((iob == 3) & (kind == 0)).tolist()]


def _same_tokens(eg: Example) -> bool:
    """Whether both documents of an example have the same tokens, so that nothing needs aligning."""
    return len(eg.x) == len(eg.y) and bool((eg.x.to_array(ORTH) == eg.y.to_array(ORTH)).all())


def boundaries(docs: List[Doc]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tokens are white space, which begin a sentence but not a document, and of which
    something is said of their entity already: bool, shape (tokens of all documents,)."""
    arrays = [doc.to_array([IS_SPACE, SENT_START, ENT_IOB]) for doc in docs]
    for array in arrays:
        array[:1, 1] = 0
    facts = np.concatenate(arrays)
    if not facts.any():
        return (np.zeros(len(facts), dtype=bool),) * 3
    space, sent_start, iob = facts.T
    return space == 1, sent_start == 1, iob > 0
