"""What the service says of texts, as plain values that are ready for JSON."""

import logging
from itertools import chain, cycle
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

from spacy.displacy.render import EntityRenderer
from spacy.glossary import GLOSSARY
from spacy.language import Language
from spacy.parts_of_speech import IDS as POS
from spacy.tokens import Doc, Span
from thinc.compat import has_torch

from ..explanation import hide
from ..pipeline.confidence import get_confidence, to_json
from ..pipeline.ner import BiRNNEntityRecognizer
from ..pipeline.textcat import TextClassifier
from ..tracing import NoTrace, encoders_of, trace

logger = logging.getLogger("spacy_birnn")

# Digits of a state's values, which only become colours
DIGITS = 3


class Query(NamedTuple):
    """What is asked of one text.

    text (str): The text.
    view (str): "document": what the pipeline sets. "inspection": also all spans that could be
        entities, and the attention. "states": those of the recurrent encoder.
    visible (Optional[Tuple[int, int]]): The first character that the pipeline may see, and the one
        after the last: words outside are hidden, see `explanation.hide`. None: all.
    component (Optional[str]): Whose states. None: the first that has an encoder.
    """

    text: str
    view: str = "document"
    visible: Optional[Tuple[int, int]] = None
    component: Optional[str] = None


class Failure(NamedTuple):
    """Why there is no answer.

    message (str): The reason.
    asked_wrongly (bool): Whether the fault is in what was asked, and not in the pipeline.
    """

    message: str
    asked_wrongly: bool


Answer = Union[Dict[str, Any], Failure]


class Analyzer:
    """Answers queries. All have the answers that they would have alone.

    nlp (Language): The pipeline, trained. Nothing else may use it meanwhile.
    """

    def __init__(self, nlp: Language):
        self.nlp = nlp

    def answer(self, queries: List[Query]) -> List[Answer]:
        """Answer some queries, with one `nlp.pipe` for all that ask for the document. A failure is
        that of its query alone.

        RETURNS (List[Answer]): The answer to each.
        """
        # The words of the texts are forgotten afterwards, or the vocab would grow for ever
        with self.nlp.memory_zone():
            return self._answer(queries)

    def _answer(self, queries: List[Query]) -> List[Answer]:
        answers: Dict[int, Answer] = {}
        together = [i for i, query in enumerate(queries) if query.view == "document"]
        if len(together) > 1:
            try:
                docs = ((self._doc(queries[i]), i) for i in together)
                answers = {i: to_json(doc) for doc, i in self.nlp.pipe(docs, as_tuples=True)}
            except Exception:
                # Which of them it was shows when each is alone
                answers = {}
        return [
            answers[i] if i in answers else self._answer_one(query)
            for i, query in enumerate(queries)
        ]

    def _answer_one(self, query: Query) -> Answer:
        views = {"document": self._document, "inspection": self._inspection, "states": self._states}
        try:
            return views[query.view](query)
        except (BadQuery, NoTrace) as error:
            return Failure(str(error), asked_wrongly=True)
        except Exception as error:
            logger.exception("The pipeline failed on a text of %d characters", len(query.text))
            return Failure(f"The pipeline failed on this text: {error}", asked_wrongly=False)

    def _document(self, query: Query) -> Dict[str, Any]:
        return to_json(self.nlp(self._doc(query)))

    def _inspection(self, query: Query) -> Dict[str, Any]:
        doc, visible = self._prepare(query)
        recognizer = recognizer_of(self.nlp)
        attention, candidates, own = [], [], set()
        pipes: List[Tuple[str, Any]] = self.nlp.pipeline
        for name, pipe in pipes:
            if isinstance(pipe, TextClassifier):
                weights = pipe.predict([doc])[0].attention
                if weights is not None:
                    words = [token.text for token in doc]
                    values = weights.tolist()
                    attention.append({"component": name, "words": words, "weights": values})
            if name != recognizer:
                doc = pipe(doc)
                continue
            before = set(map(_place, doc.ents))
            candidates = [
                _entity(span, confidence, given=False)
                for span, confidence in pipe.candidates([doc])[0]
                if _place(span) not in before
            ]
            doc = pipe(doc)
            own = set(map(_place, doc.ents)) - before
        # Those of other components are there whatever the threshold
        given = [
            _entity(ent, get_confidence(ent), given=True)
            for ent in doc.ents
            if _place(ent) not in own
        ]
        return {
            **to_json(doc),
            "candidates": None if recognizer is None else given + candidates,
            "attention": attention,
            "visible": visible,
        }

    def _states(self, query: Query) -> Dict[str, Any]:
        traces = trace(self.nlp, self._doc(query), pipe=query.component)
        return {
            "component": query.component or next(iter(encoders_of(self.nlp))),
            "words": traces[0].words,
            "directions": [
                {
                    "direction": found.direction,
                    "states": found.states.astype("float64").round(DIGITS).tolist(),
                    "norms": found.norms.astype("float64").round(DIGITS).tolist(),
                    "changes": found.changes.astype("float64").round(DIGITS).tolist(),
                }
                for found in traces
            ],
        }

    def _doc(self, query: Query) -> Doc:
        return self._prepare(query)[0]

    def _prepare(self, query: Query) -> Tuple[Doc, Optional[Tuple[int, int]]]:
        """The document as it enters the pipeline; and if words are hidden, where those that are
        not stand in its text, which is another then."""
        doc = self.nlp.make_doc(query.text)
        if query.visible is None:
            return doc, None
        start, end = query.visible
        if not 0 <= start <= end <= len(query.text):
            raise BadQuery(
                f"'visible' is from {start} to {end}, but must be within the text, which has "
                f"{len(query.text)} characters."
            )
        seen = [t.i for t in doc if t.idx < end and t.idx + len(t) > start]
        hidden = hide(doc, set(range(len(doc))).difference(seen))
        if not seen:
            return hidden, (0, 0)
        last = hidden[seen[-1]]
        return hidden, (hidden[seen[0]].idx, last.idx + len(last))


class BadQuery(ValueError):
    """A query that has no answer."""


def describe(nlp: Language) -> Dict[str, Any]:
    """What is in a pipeline, and what the page needs to show it.

    RETURNS (Dict[str, Any]): "name", "lang" and "version"; "components", with the "name", the
        "factory" and the "labels" of each; "threshold", above which its entities are, if it is one
        for all labels; "encoders", the components whose states there are, which torch computes;
        "direction" of the writing; "colors" of entity labels, displaCy's; "glossary", what labels
        stand for.
    """
    pipes: List[Tuple[str, Any]] = nlp.pipeline
    labels = {name: list(_labels(pipe)) for name, pipe in pipes}
    recognizer = next((pipe for name, pipe in pipes if name == recognizer_of(nlp)), None)
    threshold = None
    if recognizer is not None:
        threshold = recognizer.threshold
        threshold = recognizer.fitted_threshold if threshold is None else threshold
    entities = {
        label
        for name in labels
        if "doc.ents" in nlp.get_pipe_meta(name).assigns
        for label in labels[name]
    }
    explained = dict.fromkeys([*POS, *chain.from_iterable(labels.values())])
    return {
        "name": f"{nlp.meta['lang']}_{nlp.meta['name']}",
        "lang": nlp.meta["lang"],
        "version": nlp.meta["version"],
        "components": [
            {"name": name, "factory": nlp.get_pipe_meta(name).factory, "labels": labels[name]}
            for name in labels
        ],
        "threshold": None if isinstance(threshold, dict) else threshold,
        "encoders": list(encoders_of(nlp)) if has_torch else [],
        "direction": nlp.vocab.writing_system.get("direction", "ltr"),
        "colors": _colors(sorted(entities)),
        "glossary": {label: GLOSSARY[label] for label in explained if label in GLOSSARY},
    }


def recognizer_of(nlp: Language) -> Optional[str]:
    """The last `birnn_ner` of a pipeline: entities of others before it stand, to it."""
    found = [name for name, pipe in nlp.pipeline if isinstance(pipe, BiRNNEntityRecognizer)]
    return found[-1] if found else None


def _colors(labels: List[str]) -> Dict[str, str]:
    """The colours of displaCy, and for labels for which it has none its others in turn."""
    known = EntityRenderer().colors
    others = cycle(dict.fromkeys(known.values()))
    return {label: known.get(label.upper()) or next(others) for label in labels}


def _labels(pipe: Any) -> Iterable[str]:
    return () if getattr(pipe, "hide_labels", False) else getattr(pipe, "labels", ())


def _entity(span: Span, confidence: Optional[float], *, given: bool) -> Dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "text": span.text,
        "confidence": confidence,
        "given": given,
    }


def _place(span: Span) -> Tuple[int, int]:
    return span.start_char, span.end_char
