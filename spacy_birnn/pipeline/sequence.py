"""What the components that label tokens share."""

from itertools import islice
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model

from .. import crf
from ..checks import check_positive, check_smoothing, check_temperature
from ..crf import Posterior, SequenceScores
from ..errors import BirnnError, Errors
from .base import BiRNNPipe, Setting, smoothed
from .calibration import Decisions, Evidence, temperature_for
from .fitting import TINY

default_model_config = """
[model]
@architectures = "spacy-birnn.SequenceTagger.v1"
output = "softmax"

[model.tok2vec]
@architectures = "spacy-birnn.BiRNNTok2Vec.v1"
"""
SOFTMAX_MODEL = Config().from_str(default_model_config)["model"]


class SequenceLabeller(BiRNNPipe):
    """Labels each token with a model that scores sequences (`spacy-birnn.SequenceTagger.v1`).

    A subclass says which tags agree with an example's annotation (`gold_mask`) and what a sequence
    of tags means to a user (`read_tags`). If its tags are not its labels, it says how many there
    are (`n_tags`); if they depend on one another or on the document, it overrides `constrain` and
    `allowed_mask`; if they mean more than that, `decode`.
    """

    unfitted = {"temperature": 1.0}
    temperature = Setting(check_temperature)

    def __init__(self, vocab: Vocab, model: Model, name: str, **settings: Any):
        super().__init__(vocab, model, name, **settings)
        self.void_calibration()
        output = model.get_ref("output_layer").attrs.get("output") if _has_head(model) else None
        if output is None:
            raise BirnnError(Errors.E005.format(name=name, found=model.name))
        self._configure()

    @property
    def n_tags(self) -> int:
        """Number of tags that the model scores."""
        return len(self.labels)

    @property
    def tag_names(self) -> List[str]:
        """The name of each tag that the model scores."""
        return list(self.labels)

    @property
    def n_outputs(self) -> int:
        return self.n_tags

    def gold_mask(self, eg: Example, unknown: Optional[Set[str]] = None) -> np.ndarray:
        """The tags that agree with an example's annotation; all of them where it has none.

        unknown (Optional[Set[str]]): Collects labels that the component does not have, with whose
            tokens no tag agrees. None: they are refused (E021).
        RETURNS (np.ndarray): bool, shape (tokens of eg.predicted, n_tags).
        """
        raise NotImplementedError  # pragma: no cover

    def constrain(self, scores: SequenceScores) -> SequenceScores:
        """The scores, with -inf for what the tagging scheme forbids."""
        return scores

    def allowed_mask(
        self, docs: List[Doc], gold: Optional[np.ndarray] = None
    ) -> Optional[np.ndarray]:
        """The tags that the documents leave possible: bool, shape (tokens, n_tags). None: all.

        gold (Optional[np.ndarray]): The annotation, as `gold_mask` gives it. What is set on a
            document and contradicts it does not count.
        """
        return None

    def read_tags(self, doc: Doc, tags: Sequence[int]) -> List[Any]:
        """What a possible sequence of tags, one for each token, says of a document."""
        raise NotImplementedError  # pragma: no cover

    def decode(self, docs: List[Doc], scores: SequenceScores) -> List[Any]:
        """What `set_annotations` takes for each document: here the tag of each token."""
        tags = iter(crf.viterbi(scores, self.allowed_mask(docs)).tolist())
        return [list(islice(tags, length)) for length in scores.lengths.tolist()]

    def predict(self, docs: Iterable[Doc]) -> List[Any]:
        """Predict the tags of a batch, without modifying the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (List[Any]): One item a document, for `set_annotations`.
        """
        docs = self._listed(docs)
        if not docs:
            return []
        self._check_ready()
        return self.decode(docs, self._scores(docs))

    def k_best(self, docs: Iterable[Doc], k: int) -> List[List[Tuple[List[Any], float]]]:
        """The k most probable labellings of each document, without modifying it. What is set on a
        document is respected as in `predict`, and the probabilities are those given that.

        docs (Iterable[Doc]): The documents.
        k (int): How many labellings, at least 1.
        RETURNS (List[List[Tuple[List[Any], float]]]): For each document its labellings, the most
            probable first, each with its probability; all that are possible if those are fewer
            than k. A labelling is the list of `birnn_ner`'s entities (`Span`), or a label for each
            token. An empty document has one, which is empty.
        RAISES (ValueError): E001 for an impossible k, E007 for a single document, E010 before
            initialization.
        """
        check_positive("k", k, where=self.name)
        self._check_ready()
        docs = self._listed(docs)
        if not docs:
            return []
        found = crf.k_best(self._scores(docs), k, self.allowed_mask(docs))
        return [
            [
                (self.read_tags(doc, tags), probability)
                for tags, probability in zip(best.labels, np.exp(best.log_probs).tolist())
            ]
            for doc, best in zip(docs, found)
        ]

    def get_loss(
        self, examples: Iterable[Example], scores: SequenceScores
    ) -> Tuple[float, SequenceScores]:
        """Negative log-likelihood of the annotation, summed over the batch, and its gradient.

        examples (Iterable[Example]): The batch.
        scores (SequenceScores): The model's output for the predicted documents.
        RETURNS (Tuple[float, SequenceScores]): The loss and its gradient.
        RAISES (ValueError): E006 for too much label_smoothing, E021 for labels that it does not
            have, E022 for scores that are not finite.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        scores = self.constrain(self._finite(scores))
        gold, allowed = self._masks(examples)
        loss, d_scores = crf.loss(scores, gold, allowed)
        rate = self.cfg.get("label_smoothing", 0.0)
        if rate:
            n = gold.shape[1]
            check_smoothing(rate, n, where=self.name)
            moved = (gold.sum(axis=1, keepdims=True) == 1) * (smoothed(gold, rate, n) - gold)
            loss -= float((moved * scores.emissions).sum())
            d_scores.emissions -= moved.astype("f")
        return loss, d_scores

    def _masks(
        self, examples: List[Example], unknown: Optional[Set[str]] = None
    ) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """The tags that agree with the annotation of a batch, and those that its documents allow.
        For `unknown` see `gold_mask`."""
        gold = np.concatenate([self.gold_mask(eg, unknown) for eg in examples])
        return gold, self.allowed_mask([eg.predicted for eg in examples], gold)

    def evidence(self, examples: List[Example], unknown: Set[str]) -> Evidence:
        scores = self._finite(self.model.predict([eg.predicted for eg in examples]))
        gold, allowed = self._masks(examples, unknown)
        owners = np.repeat(np.arange(len(examples)), scores.lengths)
        n_docs = len(set(owners[~gold.all(axis=1)].tolist()))
        return Evidence(n_docs, scores, gold, allowed)

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        """The negative log-likelihood of which of the set tags are right. That of the right tags
        would say nothing of tokens whose label the component lacks, and fit how the probability of
        wrong tags is shared among them."""
        p, right = self.decisions(evidence, {"temperature": temperature})
        return -float(np.log(np.maximum(np.where(right, p, 1 - p), TINY)).sum())

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """The tag of each token that has annotation."""
        scores = self.constrain(evidence.scores.tempered(settings["temperature"]))
        tags = crf.viterbi(scores, evidence.allowed)
        confidence = crf.posterior(scores, evidence.allowed).marginals
        rows = np.flatnonzero(evidence.gold.sum(axis=1) <= 1)
        chosen = rows, tags[rows]
        return Decisions(confidence[chosen].astype("float64"), evidence.gold[chosen])

    def fit(self, evidence: List[Evidence]) -> Dict[str, Any]:
        return {"temperature": temperature_for(self, evidence)}

    def rehearsal_loss(
        self, docs: List[Doc], scores: SequenceScores, teacher: SequenceScores
    ) -> Tuple[float, SequenceScores]:
        """The divergence of the distribution over labellings from the earlier one."""
        n_known = teacher.emissions.shape[1]
        allowed = self.allowed_mask(docs)
        if n_known < self.n_tags:
            # Of labels added since, the earlier model has no opinion
            teacher = teacher.padded(self.n_tags)
            allowed = np.ones(scores.emissions.shape, bool) if allowed is None else allowed
            allowed[:, n_known:] = False
        mine, theirs = self.constrain(self._finite(scores)), self.constrain(teacher)
        return crf.divergence(mine, theirs, allowed)

    def add_label(self, label: str) -> int:
        """Add a label. A trained model gets room for it and keeps what it knows.

        label (str): The label.
        RETURNS (int): 1, or 0 if the label was there.
        """
        added = super().add_label(label)
        if added:
            self._make_room()
        return added

    def _make_room(self) -> None:
        if self.model.get_ref("output_layer").has_param("W"):
            self.set_output(self.n_tags)

    def _label_index(
        self, label: str, labels: Dict[str, int], unknown: Optional[Set[str]]
    ) -> Optional[int]:
        """The label's place. One that there is not is collected (None), or refused."""
        if label not in labels:
            if unknown is not None:
                unknown.add(label)
                return None
            known = ", ".join(labels)
            raise BirnnError(Errors.E021.format(label=label, name=self.name, labels=known))
        return labels[label]

    def _scores(self, docs: List[Doc]) -> SequenceScores:
        """The scores of a batch from which its probabilities are: tempered and constrained."""
        scores = self._finite(self.model.predict(docs))
        return self.constrain(scores.tempered(self.cfg["temperature"]))

    def _posterior(self, docs: List[Doc]) -> Tuple[SequenceScores, Posterior]:
        """The scores of a batch and what follows from them, given what is set on the documents."""
        scores = self._scores(docs)
        return scores, crf.posterior(scores, self.allowed_mask(docs))

    def _check_settings(self) -> None:
        super()._check_settings()
        rate = self.cfg.get("label_smoothing", 0.0)
        # The labels of a chain are not independent
        if rate and self.model.get_ref("output_layer").attrs["output"] == "crf":
            raise BirnnError(Errors.E004.format(value=rate))

    def _listed(self, docs: Any) -> List[Doc]:
        # A document is an iterable too, of tokens
        listed: List[Any] = [] if isinstance(docs, Doc) else list(docs)
        if isinstance(docs, Doc) or not all(isinstance(doc, Doc) for doc in listed):
            raise BirnnError(Errors.E007.format(name=self.name, value=repr(docs)))
        return listed

    def _finite(self, scores: SequenceScores) -> SequenceScores:
        if not np.isfinite(scores.emissions.sum()):
            raise BirnnError(Errors.E022.format(name=self.name))
        return scores


class TokenLabeller(SequenceLabeller):
    """A `SequenceLabeller` whose tags are its labels. Among several base classes it comes first."""

    def read_tags(self, doc: Doc, tags: Sequence[int]) -> List[str]:
        """The label of each token."""
        labels = self.labels
        return [labels[tag] for tag in tags]

    def label_probabilities(self, docs: Iterable[Doc]) -> List[np.ndarray]:
        """The probability of each label at each token, without modifying the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (List[np.ndarray]): For each document an array of shape (tokens, labels), with the
            labels in the order of `labels`. Each row sums to 1.
        RAISES (ValueError): E007 for a single document, E010 before initialization.
        """
        self._check_ready()
        docs = self._listed(docs)
        if not docs:
            return []
        scores, posterior = self._posterior(docs)
        return np.split(posterior.marginals, np.cumsum(scores.lengths)[:-1])


def _has_head(model: Model) -> bool:
    return bool(model.has_ref("output_layer"))
