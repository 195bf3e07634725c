"""Names for the model signatures of the package."""

from typing import List

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..crf import SequenceScores

# A vector for each token (or word), from the documents
DocsToVectors = Model[List[Doc], List[Floats2d]]
# A vector for each row, from vectors
Encoder = Model[List[Floats2d], List[Floats2d]]
# Scores for each token and label, from vectors; and the whole way from the documents
TaggingHead = Model[List[Floats2d], SequenceScores]
SequenceTagger = Model[List[Doc], SequenceScores]
