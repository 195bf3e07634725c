"""Named entities, each with its probability."""

import warnings
from itertools import accumulate, islice
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
    cast,
)

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from .. import crf
from ..checks import check_choice, check_flag, check_probability, check_torch
from ..crf import Posterior, SequenceScores
from ..errors import BirnnError, Errors, Warnings
from .annotation import blocked, boundaries, read_annotation
from .base import Setting
from .calibration import Decisions, Evidence
from .confidence import get_confidence, register_extensions, set_confidence
from .fitting import best_threshold, calibrated, fit_beta, uncalibrated
from .labels import EntitySpan, Scheme, scheme_of
from .sequence import SOFTMAX_MODEL, SequenceLabeller
from .spans import Candidate, DocChain, by_sequence, first_disjoint

# A lower threshold would look at very many spans, none of which is likely
LOWEST_THRESHOLD = 0.01
# Where some labels have a threshold of their own, that of the others until one is fitted: more
# probable than not
MIDDLE_THRESHOLD = 0.5
# Names that training never showed are many: their affixes tell, and some words are read without
MODEL = {
    **SOFTMAX_MODEL,
    "output": "crf",
    "tok2vec": {**SOFTMAX_MODEL["tok2vec"], "affixes": True, "spelling_dropout": 0.2},
}


@Language.factory(
    "birnn_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": MODEL,
        "scheme": "BILUO",
        "threshold": None,
        "confidence": True,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_birnn_ner(
    nlp: Language,
    name: str,
    model: Model,
    scheme: str,
    threshold: Optional[Union[float, Dict[str, float]]],
    confidence: bool,
    scorer: Optional[Callable],
) -> "BiRNNEntityRecognizer":
    """Construct an entity recognizer. See `BiRNNEntityRecognizer` for the settings."""
    return BiRNNEntityRecognizer(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        threshold=threshold,
        confidence=confidence,
        scorer=scorer,
    )


class Entities(NamedTuple):
    """What is found in one document: the spans, and the probability of each if asked for."""

    spans: List[EntitySpan]
    scores: Optional[List[float]]


def _check_threshold(name: str, value: Any, *, where: str) -> None:
    if isinstance(value, dict):
        for label, one in value.items():
            check_probability(f"{name}.{label}", one, where=where)
    elif value is not None:
        check_probability(name, value, where=where)


def _check_fitted(name: str, value: Any, *, where: str) -> None:
    if value is not None:
        check_probability(name, value, where=where)


def _check_map(name: str, value: Any, *, where: str) -> None:
    try:
        fits = value is None or (len(value) == 3 and bool(np.isfinite(value).all()))
    except TypeError:
        fits = False
    if not fits:
        expected = "null, or three finite numbers, as `calibrate` fits them"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


class BiRNNEntityRecognizer(SequenceLabeller):
    """Sets `doc.ents`. Each label of the model is an entity label with the prefix of a tagging
    scheme; a sequence that breaks the scheme has probability 0 in training and in decoding.

    Entities that are already set are kept, and others are decoded around them. The confidence of an
    entity is the exact probability of that span with that label under the model, given those; after
    `calibrate` how often an entity of that probability is right.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, such as `spacy-birnn.SequenceTagger.v1`.
    name (str): The component's name.
    scheme (str): "BILUO" or "BIO".
    threshold (Optional[Union[float, Dict[str, float]]]): Which entities to set: those with at least
        this confidence (of those that overlap the most probable). A dict gives one for each label;
        labels that it does not name have the fitted one, or 0.5 until there is one. With null it is
        the one that `calibrate` has fitted for the best F1, and until then the entities are those
        of the single best sequence of tags. A probability below 0.01 is never enough. Recommended:
        null; 0.3 to find more, 0.7 to be more often right.
    confidence (bool): Whether to compute each entity's probability. It is stored in doc.user_data
        and read as `ent._.confidence`, or by `get_confidence`, see there; that of all entities of a
        document as `doc._.confidence`. An extension of this name that is there when the component
        is made is left alone (W011).
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001 for an unknown scheme or an impossible threshold.
    """

    # The map from probability to confidence is that of `calibrated`
    unfitted = {"temperature": 1.0, "confidence_map": None, "fitted_threshold": None}
    fixed = ("scheme",)
    threshold = Setting(_check_threshold)
    confidence = Setting(check_flag)
    fitted_threshold = Setting(_check_fitted)
    confidence_map = Setting(_check_map)

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "birnn_ner",
        *,
        scheme: str = "BILUO",
        threshold: Optional[Union[float, Dict[str, float]]] = None,
        confidence: bool = True,
        scorer: Optional[Callable] = None,
    ):
        check_choice("scheme", scheme, ("BILUO", "BIO"), where=name)
        settings = {"scheme": scheme, "threshold": threshold, "confidence": confidence}
        super().__init__(vocab, model, name, labels=[], **settings)
        self.scorer = scorer
        self._reported: Set[str] = set()
        taken = register_extensions()
        if taken:
            warnings.warn(Warnings.W011.format(name=name, kinds=" and ".join(taken)), stacklevel=2)

    @property
    def labels(self) -> Tuple[str, ...]:
        """The entity labels, in the order in which they were added."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Tuple[str, ...]:
        """The labels, as `spacy init labels` writes them."""
        return self.labels

    @property
    def scheme(self) -> Scheme:
        """The tagging scheme over the labels."""
        return scheme_of(self.cfg["scheme"], len(self.labels))

    @property
    def n_tags(self) -> int:
        return self.scheme.n_tags

    @property
    def tag_names(self) -> List[str]:
        return self.scheme.names(self.labels)

    def add_label(self, label: str) -> int:
        if not isinstance(label, str) or not label:
            raise BirnnError(Errors.E023.format(name=self.name, value=label))
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        self._make_room()
        return 1

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch. As in spaCy's `ner`, labels that the component does not have are
        added. For the arguments see `BiRNNPipe.update`."""
        check_torch(self.name)
        validate_examples(examples, "BiRNNEntityRecognizer.update")
        for label in sorted({ent.label_ for eg in examples for ent in eg.reference.ents}):
            self.add_label(label)
        return super().update(examples, drop=drop, sgd=sgd, losses=losses)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Initialize the labels and the model.

        get_examples (Callable[[], Iterable[Example]]): Gives a representative sample of the data.
        nlp (Optional[Language]): The pipeline that the component is part of.
        labels (Optional[Iterable[str]]): The labels, as `spacy init labels` writes them. None takes
            the entity labels of the examples.
        RAISES (ValueError): E020 for labels that are no list, E027 for thresholds of labels that
            there are not.
        """
        check_torch(self.name)
        validate_get_examples(get_examples, "BiRNNEntityRecognizer.initialize")
        self.void_calibration()
        self._check_labels(labels)
        self._reported.clear()
        found: Set[str] = set()
        n_ents, faults = 0, []
        for eg in get_examples():
            found.update(ent.label_ for ent in eg.y.ents)
            n_ents += len(eg.y.ents)
            faults += read_annotation(eg, self.scheme).faults
        self._report(faults, n_ents)
        for label in sorted(found) if labels is None else labels:
            self.add_label(label)
        self._require_labels()
        self._thresholds(self.cfg)
        docs = [eg.x for eg in islice(get_examples(), 10)]
        self.model.initialize(X=docs, Y=[np.zeros((len(doc), self.n_tags), "f") for doc in docs])

    def constrain(self, scores: SequenceScores) -> SequenceScores:
        return scores.constrained(self.scheme.legal())

    def gold_mask(self, eg: Example, unknown: Optional[Set[str]] = None) -> np.ndarray:
        labels = {label: i for i, label in enumerate(self.labels)}
        ents, outside, faults = read_annotation(eg, self.scheme)
        self._report(faults)
        index = [self._label_index(label, labels, unknown) for _, _, label in ents]
        known = [EntitySpan(s, e, i) for (s, e, _), i in zip(ents, index) if i is not None]
        mask = self.scheme.mask(len(eg.x), known, outside)
        for (start, end, _), i in zip(ents, index):
            if i is None:
                mask[start:end] = False
        return mask

    def _report(self, faults: List[Tuple[str, str]], n_ents: Optional[int] = None) -> None:
        """Warn of each kind of fault once. Of how many entities is known only when the data is read
        as a whole."""
        for message in sorted({message for message, _ in faults} - self._reported):
            self._reported.add(message)
            texts = [text for other, text in faults if other == message]
            share = "" if n_ents is None else f" ({len(texts)} of {n_ents})"
            warnings.warn(message.format(name=self.name, share=share, example=texts[0]))

    def allowed_mask(
        self, docs: List[Doc], gold: Optional[np.ndarray] = None
    ) -> Optional[np.ndarray]:
        """As in spaCy's `ner`, entities on the document stand, blocked tokens stay outside, and
        another entity does not begin with white space or cross the start of a sentence. Nor does it
        end with white space, where spaCy's may; in BIO, where any inside token may be the last, it
        has none inside either.

        gold (Optional[np.ndarray]): The annotation, as `gold_mask` gives it. An entity or a blocked
            token on the document that contradicts it counts as if it were not there.
        """
        space, continues, is_set = boundaries(docs)
        if not (space | continues | is_set).any():
            return None
        scheme = self.scheme
        allowed = np.ones((len(space), scheme.n_tags), dtype=bool)
        allowed[space] = scheme.without("B" + scheme.endings)
        allowed[continues] &= scheme.without("IL")
        given = [self._given(doc) for doc in docs] if is_set.any() else []
        offset = 0
        for doc, spans in zip(docs, given):
            for span in spans:
                # With the token after it, which tells in BIO that it ends
                first, last = offset + span.start, offset + span.end
                rows = slice(first, min(last + 1, offset + len(doc)))
                own = self._alone(span, rows.stop - rows.start)
                if gold is None or (gold[rows] & own).any(axis=1).all():
                    allowed[first:last] = own[: last - first]
                    allowed[last : rows.stop] &= own[last - first :]
            offset += len(doc)
        return allowed

    def _given(self, doc: Doc) -> List[EntitySpan]:
        """What earlier components have set for good: entities, and the tokens that they blocked. A
        label that the model does not have is -1; to the model its tokens are outside."""
        labels = {label: i for i, label in enumerate(self.labels)}
        ents = [EntitySpan(e.start, e.end, labels.get(e.label_, -1)) for e in doc.ents]
        return ents + [EntitySpan(token.start, token.end, -1) for token in blocked(doc)]

    def _alone(self, span: EntitySpan, length: int) -> np.ndarray:
        """The tags that agree with a span at the beginning of a sequence of tokens."""
        n = span.end - span.start
        known = [EntitySpan(0, n, span.label)] if span.label >= 0 else []
        return self.scheme.mask(length, known, (np.arange(length) < n) & (span.label < 0))

    def decode(self, docs: List[Doc], scores: SequenceScores) -> List[Entities]:
        return self._entities(scores, self.allowed_mask(docs), self.cfg)

    def _entities(
        self, scores: SequenceScores, allowed: Optional[np.ndarray], cfg: Dict[str, Any]
    ) -> List[Entities]:
        """The entities to set, under the given settings."""
        thresholds, lengths = self._thresholds(cfg), scores.lengths.tolist()
        is_needed = cfg["confidence"] or thresholds is not None
        posterior = crf.posterior(scores, allowed) if is_needed else None
        if thresholds is not None:
            candidates = self._candidates(cast(Posterior, posterior), lengths, thresholds)
            found = [first_disjoint(own) if own else own for own in candidates]
        else:
            tags = crf.viterbi(scores, allowed, posterior.marginals if posterior else None)
            spans = by_sequence(self.scheme.decode(tags), lengths)
            if posterior is None:
                return [Entities(own, None) for own in spans]
            sequences = self._sequences(posterior, lengths)
            found = [
                [(sequence.probability(span), span) for span in own]
                for sequence, own in zip(sequences, spans)
            ]
        probabilities = [probability for own in found for probability, _ in own]
        confidence = iter(calibrated(probabilities, cfg["confidence_map"]).tolist())
        return [
            Entities([span for _, span in own], list(islice(confidence, len(own)))) for own in found
        ]

    def _sequences(self, posterior: Posterior, lengths: List[int]) -> List[DocChain]:
        scheme = self.scheme
        pairs = zip(accumulate(lengths), lengths)
        return [DocChain(posterior, scheme, end - length, length) for end, length in pairs]

    def _candidates(
        self, posterior: Posterior, lengths: List[int], thresholds: np.ndarray
    ) -> List[List[Candidate]]:
        """For each document the entities with at least the probability that their label needs,
        which may overlap, the most probable first."""
        scheme = self.scheme
        # An entity is at most as probable as its first tag: few tokens are worth a look
        probable = posterior.marginals[:, scheme.opening] >= thresholds[scheme.opened]
        rows, places = np.nonzero(probable)
        begun = {*zip(rows.tolist(), scheme.opened[places].tolist())}
        openings = [EntitySpan(row, row + 1, label) for row, label in begun]
        return [
            sequence.candidates(own, thresholds) if own else []
            for sequence, own in zip(
                self._sequences(posterior, lengths), by_sequence(openings, lengths)
            )
        ]

    def _thresholds(self, cfg: Dict[str, Any]) -> Optional[np.ndarray]:
        """The least probability of an entity of each label, shape (labels,). None: the entities are
        those of the best sequence of tags. RAISES (ValueError): E027."""
        threshold, fitted = cfg["threshold"], cfg["fitted_threshold"]
        if isinstance(threshold, dict):
            for label in threshold:
                if label not in self.labels:
                    values = {"label": label, "labels": ", ".join(self.labels)}
                    raise BirnnError(Errors.E027.format(name=self.name, **values))
            others = MIDDLE_THRESHOLD if fitted is None else fitted
            confidence = [threshold.get(label, others) for label in self.labels]
        else:
            every = fitted if threshold is None else threshold
            if every is None:
                return None
            confidence = [every] * len(self.labels)
        least = uncalibrated(np.array(confidence, dtype="float64"), cfg["confidence_map"])
        return np.maximum(least, LOWEST_THRESHOLD)

    def fit(self, evidence: List[Evidence]) -> Dict[str, Any]:
        settings = super().fit(evidence)
        # All that could be set
        candidates = {**settings, "confidence_map": None, "threshold": LOWEST_THRESHOLD}
        parts = [self.decisions(part, candidates) for part in evidence]
        probabilities, right = (np.concatenate(values) for values in zip(*parts))
        beta = fit_beta(probabilities, right)
        threshold = best_threshold(calibrated(probabilities, beta))
        return {**settings, "confidence_map": beta, "fitted_threshold": threshold}

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        """The negative log-likelihood of the annotation."""
        # Of a token with an unknown label nothing is known that the model could say
        gold = evidence.gold | ~evidence.gold.any(axis=1, keepdims=True)
        scores = self.constrain(evidence.scores.tempered(temperature))
        return crf.loss(scores, gold, evidence.allowed)[0]

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """The entities that are set where all is annotated. Right is an entity with the start, the
        end and the label of one that is annotated."""
        cfg = {**self.cfg, **settings, "confidence": True}
        scores = self.constrain(evidence.scores.tempered(cfg["temperature"]))
        confidence, right = [], []
        ends = np.cumsum(scores.lengths)[:-1]
        every = np.ones_like(evidence.gold) if evidence.allowed is None else evidence.allowed
        is_free = np.split(every.sum(axis=1) > 1, ends)
        found = self._entities(scores, evidence.allowed, cfg)
        for gold, free, (spans, values) in zip(np.split(evidence.gold, ends), is_free, found):
            annotated = gold.sum(axis=1) <= 1
            for span, value in zip(spans, cast(List[float], values)):
                rows = slice(span.start, span.end)
                # An entity that was set before is not the component's
                if annotated[rows].all() and free[rows].any():
                    confidence.append(value)
                    right.append(self._agrees(span, gold))
        return Decisions(np.array(confidence, dtype="float64"), np.array(right, dtype=bool))

    def _agrees(self, span: EntitySpan, gold: np.ndarray) -> bool:
        """Whether a document's annotation, as `gold_mask` gives it, has exactly this entity."""
        # In BIO the token after an entity tells that it ends there
        rows = gold[span.start : span.end + 1]
        known = rows[: span.end - span.start].any(axis=1).all()
        return bool(known and not (rows & ~self._alone(span, len(rows))).any())

    def set_annotations(self, docs: Iterable[Doc], predicted: Iterable[Entities]) -> None:
        """Set the entities and their confidence. Those that were there before the component have
        the confidence 1.

        docs (Iterable[Doc]): The documents.
        predicted (Iterable[Entities]): What `predict` returned for them.
        """
        register_extensions()  # in another process it was not constructed
        certain = 1.0 if self.cfg["confidence"] else None
        for doc, entities in zip(docs, predicted):
            if not self.cfg["confidence"]:
                entities = entities._replace(scores=None)
            found = self._with_given(doc, entities)
            ents = [ent for ent, _ in found]
            doc.set_ents(ents, blocked=blocked(doc), default="outside")
            values = [certain if value is None else value for _, value in found]
            set_confidence(doc, ents, values)

    def read_tags(self, doc: Doc, tags: Sequence[int]) -> List[Span]:
        """The entities that `set_annotations` would set."""
        found = self._with_given(doc, Entities(self.scheme.decode(np.asarray(tags)), None))
        return [ent for ent, _ in found]

    def span_probabilities(self, doc: Doc, spans: Iterable[Span]) -> List[float]:
        """The confidence of each of some spans: the exact probability that the document has this
        entity, with these bounds and this label, whether or not it would be found; after
        `calibrate` how often one of that probability is right. The document is not modified.

        What is set on the document is respected as in `predict`, and the probabilities are those
        given that: after the component has run, what it found is certain. Ask of a document that
        has been through the pipeline up to this component.

        doc (Doc): The document.
        spans (Iterable[Span]): Spans of this document with one of the component's labels. They may
            overlap.
        RETURNS (List[float]): The confidence of each; 0.0 for what can't be an entity.
        RAISES (ValueError): E010 before initialization, E025 for a label that the component does
            not have, E026 for a span of another document, E038 for what is no span.
        """
        self._check_ready()
        wanted = [self._entity_span(doc, span) for span in spans]
        _, posterior = self._posterior([doc])
        sequence = DocChain(posterior, self.scheme, 0, len(doc))
        exact = np.array([sequence.probability(s) if s.start < s.end else 0.0 for s in wanted])
        confidence = calibrated(exact, self.cfg["confidence_map"])
        return np.where(exact > 0, confidence, 0.0).tolist()

    def candidates(self, docs: Iterable[Doc]) -> List[List[Tuple[Span, float]]]:
        """All spans that are an entity with a probability of at least 0.01, which may overlap. The
        documents are not modified.

        With a threshold the component sets, of those with at least that confidence, the first of
        each that overlap. So what it would set with any threshold can be told from them. Entities
        that are set already stand, and those whose label the component has are among them.

        docs (Iterable[Doc]): Documents that have been through the pipeline up to this component.
        RETURNS (List[List[Tuple[Span, float]]]): For each document the spans, the most probable
            first, each with its confidence.
        RAISES (ValueError): E007 for a single document, E010 before initialization.
        """
        self._check_ready()
        docs = self._listed(docs)
        if not docs:
            return []
        scores, posterior = self._posterior(docs)
        least = np.full(len(self.labels), LOWEST_THRESHOLD)
        found = self._candidates(posterior, scores.lengths.tolist(), least)
        result = []
        for doc, own in zip(docs, found):
            values = np.array([probability for probability, _ in own])
            confidence = calibrated(values, self.cfg["confidence_map"]).tolist()
            spans = (Span(doc, s.start, s.end, self.labels[s.label]) for _, s in own)
            result.append(list(zip(spans, confidence)))
        return result

    def _entity_span(self, doc: Doc, span: Span) -> EntitySpan:
        if not isinstance(span, Span):
            raise BirnnError(Errors.E038.format(value=span, name=self.name))
        names = {"text": span.text, "name": self.name}
        if span.doc is not doc:
            raise BirnnError(Errors.E026.format(begin=doc[:5].text, **names))
        labels = self.labels
        if span.label_ not in labels:
            known = ", ".join(labels)
            raise BirnnError(Errors.E025.format(label=span.label_, labels=known, **names))
        return EntitySpan(span.start, span.end, labels.index(span.label_))

    def _with_given(self, doc: Doc, entities: Entities) -> List[Tuple[Span, Optional[float]]]:
        """All entities of a document in order, each with its probability if that is known. What was
        given stands with its own id and certainty, also if the model has its label."""
        spans, scores = entities
        before = doc.ents
        if not spans and not before:
            return []
        labels, given = self.labels, {(ent.start, ent.end): ent for ent in before}
        found: List[Tuple[Span, Optional[float]]] = [
            (Span(doc, span.start, span.end, labels[span.label]), score)
            for span, score in zip(spans, [None] * len(spans) if scores is None else scores)
            if (span.start, span.end) not in given
        ]
        if before:
            found += [(ent, get_confidence(ent)) for ent in before]
            found.sort(key=lambda pair: pair[0].start)
        return found
