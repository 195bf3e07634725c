"""Named entities, each with its probability."""

import warnings
from itertools import islice
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Union,
    cast,
)

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, ORTH, SENT_START
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model

from .. import crf
from ..checks import check_choice, check_probability
from ..crf import Chain, LabelledSpan, Prefix, SequenceScores
from ..errors import Errors, Warnings
from .calibration import (
    Decisions,
    Evidence,
    best_threshold,
    calibrated,
    fit_beta,
    uncalibrated,
)
from .confidence import CONFIDENCE_KEY, EntityGroup, get_confidence
from .labels import EntitySpan, Scheme
from .sequence import CRF_MODEL, SequenceLabeller

# A lower threshold would look at very many spans, none of which is likely
LOWEST_THRESHOLD = 0.01
# Where some labels have a threshold of their own, that of the others until one is fitted: more
# probable than not
MIDDLE_THRESHOLD = 0.5


@Language.factory(
    "birnn_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": CRF_MODEL,
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
    confidence (bool): Whether to compute each entity's probability. It is stored in
        doc.spans["birnn_ner"], as attrs["scores"], and read as `ent._.confidence`.
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001 for an unknown scheme or an impossible threshold.
    """

    # The map from probability to confidence is that of `calibrated`
    unfitted = {"temperature": 1.0, "confidence_map": None, "fitted_threshold": None}

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
        _check_threshold(threshold, where=name)
        settings = {"scheme": scheme, "threshold": threshold, "confidence": confidence}
        super().__init__(vocab, model, name, labels=[], **settings)
        self.scorer = scorer
        self._warned_misaligned = False

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
        return Scheme(self.cfg["scheme"], len(self.labels))

    @property
    def n_tags(self) -> int:
        return self.scheme.n_tags

    def add_label(self, label: str) -> int:
        if not isinstance(label, str) or not label:
            raise ValueError(Errors.E023.format(name=self.name, value=label))
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        self._make_room()
        return 1

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
        validate_get_examples(get_examples, "BiRNNEntityRecognizer.initialize")
        self.void_calibration()
        self._check_labels(labels)
        if labels is None:
            labels = sorted({ent.label_ for eg in get_examples() for ent in eg.y.ents})
        for label in labels:
            self.add_label(label)
        self._require_labels()
        self._thresholds(self.cfg)
        docs = [eg.x for eg in islice(get_examples(), 10)]
        self.model.initialize(X=docs, Y=[np.zeros((len(doc), self.n_tags), "f") for doc in docs])

    def constrain(self, scores: SequenceScores) -> SequenceScores:
        return scores.constrained(self.scheme.legal())

    def gold_mask(self, eg: Example, unknown: Optional[Set[str]] = None) -> np.ndarray:
        labels = {label: i for i, label in enumerate(self.labels)}
        if _same_tokens(eg):
            ents, iob = list(eg.y.ents), eg.y.to_array(ENT_IOB)
        else:
            ents = eg.get_aligned_spans_y2x(eg.y.ents, allow_overlap=False)
            self._report_misaligned(eg, ents)
            # None where the tokens do not align: missing, as 0
            iob = np.array([value or 0 for value in eg.get_aligned("ENT_IOB")], dtype="uint64")
        found = [(ent, self._label_index(ent.label_, labels, unknown)) for ent in ents]
        spans = [EntitySpan(e.start, e.end, label) for e, label in found if label is not None]
        mask = self.scheme.mask(len(eg.x), spans, iob == 2)
        for ent, label in found:
            if label is None:
                mask[ent.start : ent.end] = False
        return mask

    def _report_misaligned(self, eg: Example, aligned: List[Span]) -> None:
        missed = len(eg.y.ents) - len(aligned)
        if missed and not self._warned_misaligned:
            self._warned_misaligned = True
            texts = {ent.text for ent in aligned}
            example = next((e.text for e in eg.y.ents if e.text not in texts), eg.y.ents[0].text)
            warnings.warn(Warnings.W001.format(n=missed, name=self.name, example=example))

    def allowed_mask(self, docs: List[Doc]) -> Optional[np.ndarray]:
        """As in spaCy's `ner`: entities on the document stand, blocked tokens stay outside, and an
        entity does not begin or end with white space or cross the start of a sentence."""
        attrs = [doc.to_array([ENT_IOB, IS_SPACE, SENT_START]) for doc in docs]
        iob, space, sent_start = np.concatenate(attrs).T
        set_before = (iob == 1) | (iob == 3)
        continues = (sent_start == 1) & ~_first_rows(docs)
        if not (set_before.any() or space.any() or continues.any()):
            return None
        scheme = self.scheme
        allowed = np.ones((len(iob), scheme.n_tags), dtype=bool)
        # In BIO any inside token may be the last
        ending = "BLU" if scheme.name == "BILUO" else "BI"
        allowed[np.ix_(space == 1, scheme.tags_with(ending))] = False
        allowed[np.ix_(continues, scheme.tags_with("IL"))] = False
        labels = {label: i for i, label in enumerate(self.labels)}
        offset = 0
        for doc in docs:
            known = [EntitySpan(e.start, e.end, labels.get(e.label_, -1)) for e in doc.ents]
            stop = offset + len(doc)
            if set_before[offset:stop].any():
                # An entity whose label the model does not know is a stretch of O to it
                outside = set_before[offset:stop].copy()
                for span in known:
                    outside[span.start : span.end] = span.label < 0
                spans = [span for span in known if span.label >= 0]
                mask = scheme.mask(len(doc), spans, outside)
                fixed = set_before[offset:stop]
                allowed[offset:stop][fixed] = mask[fixed]
                allowed[offset:stop][~fixed] &= mask[~fixed]
            offset = stop
        return allowed

    def decode(self, docs: List[Doc], scores: SequenceScores) -> List[Entities]:
        return self._entities(scores, self.allowed_mask(docs), self.cfg)

    def _entities(
        self, scores: SequenceScores, allowed: Optional[np.ndarray], cfg: Dict[str, Any]
    ) -> List[Entities]:
        """The entities to set, under the given settings."""
        scheme, thresholds = self.scheme, self._thresholds(cfg)
        ends = np.cumsum(scores.lengths)
        found: List[List[EntitySpan]] = []
        if thresholds is None:
            tags = np.split(crf.viterbi(scores, allowed), ends[:-1])
            found = [scheme.decode(doc_tags) for doc_tags in tags]
            if not cfg["confidence"]:
                return [Entities(spans, None) for spans in found]
        posterior = crf.posterior(scores, allowed)
        chain = cast(Chain, posterior.chain)
        sequences = [
            _Sequence(chain, scheme, end - length, length)
            for end, length in zip(ends.tolist(), scores.lengths.tolist())
        ]
        if thresholds is not None:
            # An entity is at most as probable as its first tag: few rows are worth a look
            opening = np.array(scheme.tags_with("BU"), dtype="int64")
            opened = (opening - 1) // len(scheme.prefixes)
            rows, places = np.nonzero(posterior.marginals[:, opening] >= thresholds[opened])
            openings: List[Set[Tuple[int, int]]] = [set() for _ in sequences]
            owners = np.searchsorted(ends, rows, side="right")
            for owner, row, label in zip(owners.tolist(), rows.tolist(), opened[places].tolist()):
                openings[owner].add((row, label))
            found = [s.probable(begun, thresholds) for s, begun in zip(sequences, openings)]
        probabilities = [
            [sequence.probability(span) for span in spans]
            for sequence, spans in zip(sequences, found)
        ]
        return [
            Entities(spans, calibrated(values, cfg["confidence_map"]).tolist())
            for spans, values in zip(found, probabilities)
        ]

    def _thresholds(self, cfg: Dict[str, Any]) -> Optional[np.ndarray]:
        """The least probability of an entity of each label, shape (labels,). None: the entities are
        those of the best sequence of tags. RAISES (ValueError): E027."""
        threshold, fitted = cfg["threshold"], cfg["fitted_threshold"]
        _check_threshold(threshold, where=self.name)
        if isinstance(threshold, dict):
            for label in threshold:
                if label not in self.labels:
                    values = {"label": label, "labels": ", ".join(self.labels)}
                    raise ValueError(Errors.E027.format(name=self.name, **values))
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
        n = span.end - span.start
        # In BIO the token after an entity tells that it ends there
        rows = gold[span.start : span.end + 1]
        alone = EntitySpan(0, n, span.label)
        expected = self.scheme.mask(len(rows), [alone], np.zeros(len(rows), dtype=bool))
        return bool(rows[:n].any(axis=1).all() and not (rows & ~expected).any())

    def set_annotations(self, docs: Iterable[Doc], predicted: Iterable[Entities]) -> None:
        """Set the entities, and the span group with their probabilities.

        docs (Iterable[Doc]): The documents.
        predicted (Iterable[Entities]): What `predict` returned for them.
        """
        for doc, entities in zip(docs, predicted):
            found = self._with_given(doc, entities)
            ents = [ent for ent, _ in found]
            doc.set_ents(ents, blocked=_blocked(doc), default="outside")
            if self.cfg["confidence"]:
                values = [1.0 if value is None else value for _, value in found]
                doc.spans[CONFIDENCE_KEY] = EntityGroup(doc, ents, values)

    def read_tags(self, doc: Doc, tags: np.ndarray) -> List[Span]:
        """The entities that `set_annotations` would set."""
        found = self._with_given(doc, Entities(self.scheme.decode(tags), None))
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
        self._require_weights()
        wanted = [self._entity_span(doc, span) for span in spans]
        posterior = crf.posterior(self._scores([doc]), self.allowed_mask([doc]))
        sequence = _Sequence(cast(Chain, posterior.chain), self.scheme, 0, len(doc))
        exact = np.array([sequence.probability(s) if s.start < s.end else 0.0 for s in wanted])
        confidence = calibrated(exact, self.cfg["confidence_map"])
        return np.where(exact > 0, confidence, 0.0).tolist()

    def _entity_span(self, doc: Doc, span: Span) -> EntitySpan:
        if not isinstance(span, Span):
            raise ValueError(Errors.E038.format(value=span, name=self.name))
        names = {"text": span.text, "name": self.name}
        if span.doc is not doc:
            raise ValueError(Errors.E026.format(begin=doc[:5].text, **names))
        labels = self.labels
        if span.label_ not in labels:
            known = ", ".join(labels)
            raise ValueError(Errors.E025.format(label=span.label_, labels=known, **names))
        return EntitySpan(span.start, span.end, labels.index(span.label_))

    def _with_given(self, doc: Doc, entities: Entities) -> List[Tuple[Span, Optional[float]]]:
        """All entities of a document in order, each with its probability if that is known. What was
        given stands with its own id and certainty, also if the model has its label."""
        spans, scores = entities
        labels = self.labels
        given = {(ent.start, ent.end): ent for ent in doc.ents}
        found: List[Tuple[Span, Optional[float]]] = [
            (Span(doc, span.start, span.end, labels[span.label]), score)
            for span, score in zip(spans, [None] * len(spans) if scores is None else scores)
            if (span.start, span.end) not in given
        ]
        found += [(ent, get_confidence(ent)) for ent in given.values()]
        return sorted(found, key=lambda pair: pair[0].start)


class _Sequence(NamedTuple):
    """One document's rows of a batch."""

    chain: Chain
    scheme: Scheme
    offset: int
    length: int

    def probability(self, span: EntitySpan) -> float:
        """The probability of exactly this entity."""
        then = self.scheme.after(span.label) if span.end < self.length else None
        labelled = LabelledSpan(self.offset + span.start, self.scheme.encode(span), then)
        return crf.span_marginal(self.chain, labelled)

    def probable(self, openings: Set[Tuple[int, int]], thresholds: np.ndarray) -> List[EntitySpan]:
        """The entities with at least the probability that their label needs, in order; of those
        that overlap the most probable. They begin at the given rows of the batch, with the given
        labels."""
        if not openings:
            return []
        candidates = []
        for row, label in openings:
            start, then, threshold = row - self.offset, self.scheme.after(label), thresholds[label]
            # The tokens of an entity that goes on after them: no longer one is more probable
            unfinished = Prefix(row)
            for end in range(start + 1, self.length + 1):
                whole = self._extend(unfinished, row, label, last=True)
                follows = then if end < self.length else None
                probability = crf.prefix_marginal(self.chain, whole, follows)
                if probability >= threshold:
                    candidates.append((probability, EntitySpan(start, end, label)))
                unfinished = self._extend(unfinished, row, label, last=False)
                if crf.prefix_marginal(self.chain, unfinished) < threshold:
                    break
        chosen: List[EntitySpan] = []
        taken = np.zeros(self.length, dtype=bool)
        for _, span in sorted(candidates, key=lambda pair: (-pair[0], pair[1])):
            if not taken[span.start : span.end].any():
                chosen.append(span)
                taken[span.start : span.end] = True
        return sorted(chosen)

    def _extend(self, prefix: Prefix, row: int, label: int, *, last: bool) -> Prefix:
        """The entity that begins in the row, with one token more."""
        tag = self.scheme.tag_at(prefix.end - row, label, last=last)
        return crf.extend(self.chain, prefix, tag)


def _check_threshold(threshold: Any, *, where: str) -> None:
    if isinstance(threshold, dict):
        for label, value in threshold.items():
            check_probability(f"threshold.{label}", value, where=where)
    elif threshold is not None:
        check_probability("threshold", threshold, where=where)


def _blocked(doc: Doc) -> List[Span]:
    """The tokens of which an earlier component said that they are in no entity, for good: they
    begin an entity of no kind."""
    if not doc.has_annotation("ENT_IOB"):
        return []
    iob, kind = doc.to_array([ENT_IOB, ENT_TYPE]).T
    return [doc[i : i + 1] for i in np.flatnonzero((iob == 3) & (kind == 0)).tolist()]


def _same_tokens(eg: Example) -> bool:
    """Whether both documents of an example have the same tokens, so that nothing needs aligning."""
    return len(eg.x) == len(eg.y) and bool((eg.x.to_array(ORTH) == eg.y.to_array(ORTH)).all())


def _first_rows(docs: List[Doc]) -> np.ndarray:
    lengths = np.array([len(doc) for doc in docs])
    first = np.zeros(lengths.sum(), dtype=bool)
    first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    return first
