"""Names for the model signatures of the package."""

from typing import List, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats1d, Floats2d, Ints1d

from ..crf import SequenceScores

# A vector for each token (or word), from the documents
DocsToVectors = Model[List[Doc], List[Floats2d]]
# A vector for each row, from vectors
Encoder = Model[List[Floats2d], List[Floats2d]]
# Scores for each token and label, from vectors; and the whole way from the documents
TaggingHead = Model[List[Floats2d], SequenceScores]
SequenceTagger = Model[List[Doc], SequenceScores]
# The log-probability of a lemma for each of some tokens, numbered through all documents
LemmaBatch = Tuple[List[Doc], Ints1d, List[str]]
Lemmatizer = Model[LemmaBatch, Floats1d]
