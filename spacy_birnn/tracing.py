"""The states and the gates of a recurrent encoder along a text."""

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from .models.encoder import recorded

# Words of the longest text that a picture has room for
LONGEST = 100


class NoTrace(ValueError):
    """There is no trace of this text, or of this component."""


class Trace(NamedTuple):
    """The states of one direction of an encoder's top layer along a text.

    direction (str): "forward" or "backward".
    words (List[str]): The tokens.
    states (np.ndarray): Shape (tokens, width).
    gates (Dict[str, np.ndarray]): Each gate of the cell, by its name, such as "forget"; shape
        (tokens, width), between 0 (shut) and 1 (open). A cell may have none.
    """

    direction: str
    words: List[str]
    states: np.ndarray
    gates: Dict[str, np.ndarray]

    @property
    def norms(self) -> np.ndarray:
        """The length of each state (Euclidean), shape (tokens,)."""
        return np.linalg.norm(self.states, axis=1)

    @property
    def changes(self) -> np.ndarray:
        """How far each state is from the one that was before it in reading, shape (tokens,). The
        first one's is its norm: a direction begins at 0."""
        in_order = self.states if self.direction == "forward" else self.states[::-1]
        steps = np.diff(in_order, axis=0, prepend=np.zeros_like(in_order[:1]))
        found = np.linalg.norm(steps, axis=1)
        return found if self.direction == "forward" else found[::-1]


def trace(nlp: Language, doc: Doc, *, pipe: Optional[str] = None) -> List[Trace]:
    """The states of the encoder (`spacy-birnn.BiRNNEncoder.v1`) of a component along a text.

    nlp (Language): The pipeline, trained.
    doc (Doc): The text, of 1 to 100 tokens, without annotation. Components before the one with the
        encoder set theirs.
    pipe (Optional[str]): The component's name. None takes the first that has an encoder.
    RETURNS (List[Trace]): One for each direction, forward first.
    RAISES (ValueError): `NoTrace`, if there is no such encoder, or the text has no tokens or too
        many.
    """
    encoders = encoders_of(nlp)
    name = next(iter(encoders), "") if pipe is None else pipe
    if name not in encoders:
        have = ", ".join(encoders) or "none"
        where = "The pipeline" if pipe is None else f"'{pipe}'"
        raise NoTrace(f"{where} has no recurrent encoder. Components that have one: {have}.")
    if not 1 <= len(doc) <= LONGEST:
        raise NoTrace(f"The text has {len(doc)} words, but a picture has room for 1 to {LONGEST}.")
    for earlier, component in nlp.pipeline:
        if earlier == name:
            break
        doc = component(doc)
    encoder = encoders[name]
    with recorded(encoder) as batches:
        nlp.get_pipe(name).predict([doc])  # type: ignore[attr-defined]
    direction = encoder.shims[0].settings["direction"]
    directions = ["forward", "backward"] if direction == "both" else [direction]
    words = [token.text for token in doc]
    states, gates = batches[0]
    return [
        Trace(d, words, states[i], {name: gate[i] for name, gate in gates.items()})
        for i, d in enumerate(directions)
    ]


def encoders_of(nlp: Language) -> Dict[str, Any]:
    """The first recurrent encoder of each component that has one, by the component's name."""
    return {name: found for name, p in nlp.pipeline if (found := _encoder_of(p)) is not None}


def _encoder_of(pipe: Any) -> Any:
    nodes = pipe.model.walk() if hasattr(pipe, "model") else ()
    return next((node for node in nodes if node.name == "birnn_encoder"), None)
