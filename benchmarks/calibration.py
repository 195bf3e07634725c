"""How far the probabilities of what a pipeline sets are from how often it is right."""

from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Token
from spacy.training import Example

from spacy_birnn.pipeline.confidence import get_confidence

N_BINS = 15
# Of each thing that was set its probability, and whether it is right
Pairs = list[tuple[float, bool]]


def reliability(pairs: Pairs) -> dict[str, float]:
    """The expected calibration error (Naeini et al. 2015): over bins of equal width, the mean
    difference between the mean probability and the share that is right, weighted by their numbers.

    pairs (Pairs): At least one.
    RETURNS (dict[str, float]): The error ("ece"), the mean probability ("mean"), the share that is
        right ("right"), and the number ("n").
    """
    probabilities, right = np.array(pairs, dtype="float64").T
    bins = np.minimum((probabilities * N_BINS).astype("int64"), N_BINS - 1)
    gaps = np.bincount(bins, weights=probabilities - right)
    return {
        "ece": float(np.abs(gaps).sum() / len(pairs)),
        "mean": float(probabilities.mean()),
        "right": float(right.mean()),
        "n": len(pairs),
    }


def calibration(nlp: Language, examples: list[Example]) -> dict[str, dict[str, float]]:
    """The reliability of entities, tags, morphology and categories, of those for which the pipeline
    tells probabilities.

    nlp (Language): The pipeline.
    examples (list[Example]): Annotated texts that the pipeline has read.
    """
    found = {
        "entities": _entities(examples),
        "tags": _labels(nlp, "birnn_tagger", examples, ("TAG",)),
        "morphology": _labels(nlp, "birnn_morphologizer", examples, ("POS", "MORPH")),
        "categories": _categories(examples),
    }
    return {kind: reliability(pairs) for kind, pairs in found.items() if pairs}


def _entities(examples: list[Example]) -> Pairs:
    pairs = []
    for eg in examples:
        gold = {(ent.start_char, ent.end_char, ent.label_) for ent in eg.reference.ents}
        for ent in eg.predicted.ents:
            # None from a recognizer that is not ours
            confidence = get_confidence(ent)
            if confidence is not None:
                right = (ent.start_char, ent.end_char, ent.label_) in gold
                pairs.append((confidence, right))
    return pairs


def _labels(nlp: Language, name: str, examples: list[Example], attrs: tuple[str, ...]) -> Pairs:
    """Of the tokens that align with an annotation: the probability of the most probable label, and
    whether the attributes are all as annotated."""
    pipe: Any = nlp.get_pipe(name) if name in nlp.pipe_names else None
    if not hasattr(pipe, "label_probabilities"):
        return []
    pairs = []
    found = pipe.label_probabilities([eg.predicted for eg in examples])
    for eg, probabilities in zip(examples, found, strict=True):
        annotated = zip(*(eg.get_aligned(attr, as_string=True) for attr in attrs))
        for token, gold, best in zip(eg.predicted, annotated, probabilities.max(axis=1)):
            if None not in gold and any(gold):
                right = tuple(_text(token, attr) for attr in attrs) == gold
                pairs.append((float(best), right))
    return pairs


def _text(token: Token, attr: str) -> str:
    # An annotation without features is "_"
    return {"TAG": token.tag_, "POS": token.pos_, "MORPH": str(token.morph) or "_"}[attr]


def _categories(examples: list[Example]) -> Pairs:
    pairs = []
    for eg in examples:
        cats = eg.predicted.cats
        if cats:
            best = max(cats, key=cats.__getitem__)
            pairs.append((cats[best], eg.reference.cats[best] == 1.0))
    return pairs
