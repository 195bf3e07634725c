"""Why a component says what it says of a text: how probable it and its rivals are, and what the
text would have to lack for it to be otherwise."""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import minibatch

from . import crf
from .checks import check_positive
from .errors import BirnnError, Errors
from .pipeline.ner import BiRNNEntityRecognizer
from .pipeline.sequence import SequenceLabeller, TokenLabeller
from .pipeline.textcat import TextClassifier

# What stands where a word is hidden. It has no letter, no digit and no case, and training will
# hardly have shown it, so that the model takes it for an unknown word
HIDDEN = "\N{REPLACEMENT CHARACTER}"
# Tokens of the longest text: the time is quadratic in their number
LONGEST = 200
# Labels of each token that are told
N_LABELS = 3
# Documents that are asked about at once
BATCH = 32


class _Predicted(NamedTuple):
    """What a component predicts of a document, and how to ask how probable that is of others.

    facts (List[Dict[str, Any]]): What is predicted, in words.
    spans (List[Tuple[int, int]]): The tokens that each is about. Empty if it is the whole text.
    ask (Callable): The probability of each in other documents, shape (documents, predictions).
    """

    facts: List[Dict[str, Any]]
    spans: List[Tuple[int, int]]
    ask: Callable[[List[Doc]], np.ndarray]


def explain(
    nlp: Language, text: str, *, pipes: Optional[Iterable[str]] = None, k: int = 3
) -> Dict[str, Any]:
    """Explain what the components of a pipeline predict of a text.

    nlp (Language): The pipeline, trained. Each component sees what those before it have set, also
        where a word is hidden.
    text (str): The text, of 1 to 200 tokens.
    pipes (Optional[Iterable[str]]): Names of components. None takes all that can be explained:
        those for entities, tags, morphology and categories.
    k (int): Number of labellings to compare. Recommended: 2 to 10.
    RETURNS (Dict[str, Any]): Plain values, ready for JSON. "tokens" has the tokens; "components"
        has for each component, by name:

        predicted   What it predicts: each entity, the label of each token, or each category, with
                    its "probability" (an entity's is its confidence); its first token, and the one
                    after its last, are "start" and "end". "without_word" is its probability when a
                    single token is hidden, for each token (see `hide`; white space is never
                    hidden). "without_left" and "without_right" are those when all tokens before or
                    after it are; None if there are none.
        tokens      Of entities and tags: for each token its most probable labels, each with its
                    "probability" and its "score" (the emission, after calibration).
        best        Of entities and tags: the k most probable labellings of the text, see `k_best`.
        attention   Of categories: how much each token counted in the reading; None without
                    attention.
    RAISES (ValueError): E001 for an impossible k, E090 for a component that can't be explained,
        E091 for a text that is too long or has no tokens, E092 for components that merge or split
        tokens.
    """
    check_positive("k", k, where="explain")
    explained = (SequenceLabeller, TextClassifier)
    able = [name for name, pipe in nlp.pipeline if isinstance(pipe, explained)]
    names = able if pipes is None else list(pipes)
    for name in names or ["the pipeline"]:
        if name not in able:
            raise BirnnError(Errors.E090.format(name=name, able=", ".join(able) or "none"))
    given = nlp.make_doc(text)
    if not 1 <= len(given) <= LONGEST:
        raise BirnnError(Errors.E091.format(n=len(given), limit=LONGEST))
    components = {name: _explain(nlp, name, given, k) for name in names}
    return {"text": text, "tokens": [token.text for token in given], "components": components}


def hide(doc: Doc, tokens: Iterable[int]) -> Doc:
    """A new document, without annotation, in which some words are hidden: U+FFFD stands for each,
    which to the model is an unknown word of no particular spelling. White space stays as it is.

    doc (Doc): The document.
    tokens (Iterable[int]): The places of the words.
    """
    hidden = set(tokens)
    words = [HIDDEN if t.i in hidden and not t.is_space else t.text for t in doc]
    return Doc(doc.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc])


def _explain(nlp: Language, name: str, given: Doc, k: int) -> Dict[str, Any]:
    pipe: Any = nlp.get_pipe(name)
    doc = _up_to(nlp, name, given, [[]])[0]
    if isinstance(pipe, TextClassifier):
        attention = pipe.predict([doc])[0].attention
        found: Dict[str, Any] = {"attention": None if attention is None else attention.tolist()}
        predicted = _categories(pipe)
    else:
        found = {"tokens": _token_labels(pipe, doc), "best": _best(pipe, doc, k)}
        predicted = (
            _entities(pipe, doc) if isinstance(pipe, BiRNNEntityRecognizer) else _tags(pipe, doc)
        )
    return {"predicted": _with_effects(nlp, name, given, doc, predicted), **found}


def _up_to(nlp: Language, name: str, given: Doc, hidden: Sequence[Iterable[int]]) -> List[Doc]:
    """Documents with some words hidden, as they reach a component."""
    later = nlp.pipe_names[nlp.pipe_names.index(name) :]
    docs = list(nlp.pipe((hide(given, tokens) for tokens in hidden), disable=later))
    for doc in docs:
        if len(doc) != len(given):
            values = {"name": name, "n": len(given), "found": len(doc)}
            raise BirnnError(Errors.E092.format(**values))
    return docs


def _with_effects(
    nlp: Language, name: str, given: Doc, doc: Doc, predicted: _Predicted
) -> List[Dict[str, Any]]:
    n = len(given)
    hidden: List[Iterable[int]] = [[i] for i in range(n)]
    hidden += [range(start) for start, _ in predicted.spans]
    hidden += [range(end, n) for _, end in predicted.spans]
    without = np.concatenate(
        [predicted.ask(_up_to(nlp, name, given, batch)) for batch in minibatch(hidden, BATCH)]
    )
    words, left, right = np.split(without, [n, n + len(predicted.spans)])
    probabilities = predicted.ask([doc])[0].tolist()
    found = [
        {**fact, "probability": probability, "without_word": words[:, i].tolist()}
        for i, (fact, probability) in enumerate(zip(predicted.facts, probabilities))
    ]
    for i, (start, end) in enumerate(predicted.spans):
        found[i]["without_left"] = float(left[i, i]) if start else None
        found[i]["without_right"] = float(right[i, i]) if end < n else None
    return found


def _entities(pipe: BiRNNEntityRecognizer, doc: Doc) -> _Predicted:
    """Those that the component itself finds."""
    annotated = doc.copy()
    pipe.set_annotations([annotated], pipe.predict([doc]))
    before = {(ent.start, ent.end) for ent in doc.ents}
    ents = [ent for ent in annotated.ents if (ent.start, ent.end) not in before]

    def ask(docs: List[Doc]) -> np.ndarray:
        spans = ([Span(d, ent.start, ent.end, ent.label) for ent in ents] for d in docs)
        return np.array([pipe.span_probabilities(d, own) for d, own in zip(docs, spans)])

    return _Predicted([_entity(ent) for ent in ents], [(ent.start, ent.end) for ent in ents], ask)


def _tags(pipe: TokenLabeller, doc: Doc) -> _Predicted:
    labels = pipe.read_tags(doc, pipe.predict([doc])[0])
    places = np.array([pipe.labels.index(label) for label in labels])
    rows = np.arange(len(doc))

    def ask(docs: List[Doc]) -> np.ndarray:
        return np.stack([p[rows, places] for p in pipe.label_probabilities(docs)])

    facts = [_entity(doc[i : i + 1], label) for i, label in enumerate(labels)]
    return _Predicted(facts, [(i, i + 1) for i in range(len(doc))], ask)


def _categories(pipe: TextClassifier) -> _Predicted:
    def ask(docs: List[Doc]) -> np.ndarray:
        return np.stack([found.probabilities for found in pipe.predict(docs)])

    return _Predicted([{"label": label} for label in pipe.labels], [], ask)


def _token_labels(pipe: SequenceLabeller, doc: Doc) -> List[List[Dict[str, Any]]]:
    scores = pipe._scores([doc])
    marginals = crf.posterior(scores, pipe.allowed_mask([doc])).marginals
    names = pipe.tag_names
    best = np.argsort(-marginals, axis=1, kind="stable")[:, :N_LABELS].tolist()
    return [
        [{"label": names[i], "probability": float(p[i]), "score": float(emissions[i])} for i in row]
        for row, p, emissions in zip(best, marginals, scores.emissions)
    ]


def _best(pipe: SequenceLabeller, doc: Doc, k: int) -> List[Dict[str, Any]]:
    is_ner = isinstance(pipe, BiRNNEntityRecognizer)
    return [
        {"probability": p, "entities": [_entity(ent) for ent in found]}
        if is_ner
        else {"probability": p, "labels": found}
        for found, p in pipe.k_best([doc], k)[0]
    ]


def _entity(span: Span, label: str = "") -> Dict[str, Any]:
    return {
        "text": span.text,
        "start": span.start,
        "end": span.end,
        "label": label or span.label_,
    }
