"""Names for the model signatures of the package."""

from typing import List, NamedTuple, Optional, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats1d, Floats2d, Floats3d, Ints1d

from ..crf import SequenceScores


class DocScores(NamedTuple):
    """What a text classifier says of a batch.

    logits (Floats2d): A score for each document and label, shape (documents, labels).
    attention (Optional[List[Floats1d]]): How much each token of each document counts, shape
        (tokens,); sums to 1. None: the model has no such weights.
    parts (Floats3d): What each part of the model says, shape (parts, documents, labels). Each
        learns by itself; their mean are the logits.
    """

    logits: Floats2d
    attention: Optional[List[Floats1d]]
    parts: Floats3d


# A vector for each token (or word), from the documents
DocsToVectors = Model[List[Doc], List[Floats2d]]
# A vector for each row, from vectors
Encoder = Model[List[Floats2d], List[Floats2d]]
# Scores for each token and label, from vectors; and the whole way from the documents
TaggingHead = Model[List[Floats2d], SequenceScores]
SequenceTagger = Model[List[Doc], SequenceScores]
# Scores for each label of a document, from vectors; and the whole way from the documents
DocHead = Model[List[Floats2d], Tuple[Floats2d, Optional[List[Floats1d]]]]
TextClassifier = Model[List[Doc], DocScores]
# The log-probability of a lemma for each of some tokens, numbered through all documents
LemmaBatch = Tuple[List[Doc], Ints1d, List[str]]
Lemmatizer = Model[LemmaBatch, Floats1d]
