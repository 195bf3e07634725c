"""Training against forgetting."""

from typing import Any, Dict, Iterable, List, Optional, Tuple

from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate

from .calibration import Calibrated


class Rehearsing(Calibrated):
    """A component that can rehearse. It says how far it has come away from the earlier model
    (`drift`). Among several base classes it comes first."""

    _rehearsal_model: Any = None

    def drift(self, docs: List[Doc], scores: Any, teacher: Any) -> Tuple[float, Any]:
        """The divergence of what the model says of a batch from what the earlier one said, and its
        gradient with respect to the scores.

        docs (List[Doc]): The documents.
        scores (Any), teacher (Any): The output of the model, and of the earlier one.
        """
        raise NotImplementedError  # pragma: no cover

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Pull the model back to what it predicted when training was resumed, against forgetting:
        the loss is the divergence of its distribution from the earlier one.

        examples (Iterable[Example]): A batch; its annotation is not looked at.
        drop (float): The dropout rate.
        sgd (Optional[Optimizer]): The optimizer.
        losses (Optional[Dict[str, float]]): Losses so far, updated under the component's name.
        RETURNS (Dict[str, float]): The updated losses.
        """
        validate_examples(examples, f"{type(self).__name__}.rehearse")
        self._require_weights()
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        docs = [eg.predicted for eg in examples]
        if self._rehearsal_model is None or not any(len(doc) for doc in docs):
            return losses
        self.void_calibration()
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(docs)
        loss, d_scores = self.drift(docs, scores, self._rehearsal_model.predict(docs))
        backprop(d_scores)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses
