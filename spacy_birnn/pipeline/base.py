"""What all components share: how they learn, how they rehearse, and how they are saved."""

import hashlib
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
import srsly
from spacy.pipeline import TrainablePipe
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate

from ..checks import check_torch
from ..errors import BirnnError, Errors
from ..files import replacing

# The file of a component's directory that holds all of it, so that one replacement saves it
FILE = "model"


class Setting:
    """A setting of a component that may be changed at any time: an attribute that is checked when
    it is set, and kept in the component's `cfg`, with which it is saved.

    check (Callable[..., None]): Refuses a value that is impossible: check(name, value, where=...).
    """

    def __init__(self, check: Callable[..., None]):
        self.check = check

    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = name

    def __get__(self, pipe: Any, owner: Any) -> Any:
        return self if pipe is None else pipe.cfg[self.name]

    def __set__(self, pipe: Any, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        self.check(self.name, value, where=pipe.name)
        pipe.cfg[self.name] = value


class BiRNNPipe(TrainablePipe):
    """A component of this package. A subclass that stands for a component of spaCy has that one as
    its second base class, and takes labels, settings and annotation from it.

    It says what the loss of a batch is (`get_loss`) and what that of a rehearsal is
    (`rehearsal_loss`). If it can be calibrated, it is `calibration.Calibrated`.
    """

    cfg: Dict[str, Any]
    # The settings that calibration makes, as they are without it. Training makes them void
    unfitted: Dict[str, Any] = {}
    # The settings that training depends on: nobody may change them later
    fixed: Tuple[str, ...] = ()
    _rehearsal_model: Any = None
    # The settings by their names, which each prediction looks at, and the values found possible
    _settings: Dict[str, Setting] = {}
    _checked: Optional[List[Any]] = None

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        attributes = [item for base in cls.__mro__ for item in vars(base).items()]
        cls._settings = {name: v for name, v in attributes if isinstance(v, Setting)}

    @property
    def n_outputs(self) -> int:
        """Number of outputs that the model's output layer needs."""
        return len(self.labels)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch.

        examples (Iterable[Example]): The batch.
        drop (float): The dropout rate.
        sgd (Optional[Optimizer]): The optimizer.
        losses (Optional[Dict[str, float]]): Losses so far, updated under the component's name.
        RETURNS (Dict[str, float]): The updated losses.
        RAISES (ValueError): E010 before initialization.
        """
        validate_examples(examples, f"{type(self).__name__}.update")
        docs = [eg.predicted for eg in examples]
        return self._learn(docs, lambda scores: self.get_loss(examples, scores), drop, sgd, losses)

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Pull the model back to what it predicted when training was resumed, against forgetting:
        the loss is the divergence of its distribution from the earlier one. For the arguments and
        errors see `update`; the annotation is not looked at. RAISES (ValueError): E019 with a
        tok2vec that is shared."""
        validate_examples(examples, f"{type(self).__name__}.rehearse")
        if any(isinstance(node, Tok2VecListener) for node in self.model.walk()):
            raise BirnnError(Errors.E019.format(name=self.name))
        teacher = self._rehearsal_model
        docs = [eg.predicted for eg in examples] if teacher is not None else []

        def loss_of(scores: Any) -> Tuple[float, Any]:
            return self.rehearsal_loss(docs, scores, teacher.predict(docs))

        return self._learn(docs, loss_of, drop, sgd, losses)

    def rehearsal_loss(self, docs: List[Doc], scores: Any, teacher: Any) -> Tuple[float, Any]:
        """The divergence of what the model says of a batch from what the earlier one said, and its
        gradient with respect to the scores.

        docs (List[Doc]): The documents.
        scores (Any), teacher (Any): The output of the model, and of the earlier one.
        """
        raise NotImplementedError  # pragma: no cover

    def void_calibration(self) -> None:
        """Forget what was fitted, which was for other weights."""
        self.cfg.update(self.unfitted)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Save the component to bytes, with a checksum.

        exclude (Iterable[str]): Names of fields to leave out: "cfg", "model" or "vocab".
        """
        pipe = super().to_bytes(exclude=exclude)
        data = srsly.msgpack_dumps({"pipe": pipe, "configured": self._configured})
        return srsly.msgpack_dumps({"sha256": hashlib.sha256(data).hexdigest(), "data": data})

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> TrainablePipe:
        """Load the component. A setting that the config states otherwise than when it was saved has
        been overridden, and counts. RAISES (ValueError): E013 if what was saved is damaged, E024 if
        the model does not fit the labels, E012 for another value of a setting that training
        depends on. Settings and labels are then as they were."""
        with self._loading():
            saved = srsly.msgpack_loads(_checked(srsly.msgpack_loads(bytes_data)))
            # The weights are in each of these once more
            del bytes_data
            super().from_bytes(saved.pop("pipe"), exclude=exclude)
            self._override(saved["configured"])
            return self

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Save the component in one file of a directory, which is replaced at once or not at all.

        path (Union[str, Path]): The directory. Other files in it are left alone.
        exclude (Iterable[str]): As for `to_bytes`.
        RAISES (OSError): E016 if the directory cannot be written to.
        """
        path, data = Path(path), self.to_bytes(exclude=exclude)
        try:
            path.mkdir(exist_ok=True)
            with replacing(path / FILE) as new:
                new.write_bytes(data)
        except OSError as e:
            reason = Errors.E016.format(name=self.name, path=path, reason=e)
            raise OSError(e.errno, reason) from e

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> TrainablePipe:
        """Load the component. RAISES (ValueError): As `from_bytes`."""
        return self.from_bytes((Path(path) / FILE).read_bytes(), exclude=exclude)

    def _learn(
        self,
        docs: List[Doc],
        loss_of: Callable[[Any], Tuple[float, Any]],
        drop: float,
        sgd: Optional[Optimizer],
        losses: Optional[Dict[str, float]],
    ) -> Dict[str, float]:
        """One step of training. Documents without tokens teach nothing."""
        check_torch(self.name)
        self._check_ready()
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        if not any(len(doc) for doc in docs):
            return losses
        self.void_calibration()
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(docs)
        loss, d_scores = loss_of(scores)
        backprop(d_scores)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def _check_labels(self, labels: Optional[Iterable[str]]) -> None:
        if isinstance(labels, (str, Mapping)):
            raise BirnnError(Errors.E020.format(name=self.name, value=repr(labels)))

    def _configure(self) -> None:
        """Check the settings, and remember them as configured. Constructors call this last."""
        self._check_settings()
        names = [*self._settings, *self.fixed]
        self._configured = deepcopy({name: self.cfg[name] for name in names})

    def _override(self, configured: Dict[str, Any]) -> None:
        """Let what is configured now count where it is not what was configured at the saving."""
        for name, value in self._configured.items():
            if name not in configured or configured[name] == value:
                continue
            if name in self.fixed:
                reason = f"'{name}' was {configured[name]!r} in training and is {value!r} now"
                raise BirnnError(Errors.E012.format(name=self.name, reason=reason))
            setattr(self, name, value)

    def _check_settings(self) -> None:
        values = [self.cfg[name] for name in self._settings]
        if values != self._checked:
            for name, value in zip(self._settings, values):
                self._settings[name].check(name, value, where=self.name)
            self._checked = deepcopy(values)

    def _check_ready(self) -> None:
        """RAISES (ValueError): E010 without weights, E001 for an impossible setting in `cfg`, E024
        where a change of `cfg` makes the labels unfit for the model."""
        self._require_weights()
        self._check_settings()
        self._check_outputs()

    def _require_weights(self) -> None:
        if not self.model.get_ref("output_layer").has_param("W"):
            raise BirnnError(Errors.E010.format(name=self.name))

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Report what fails, and keep the settings and labels that there were."""
        before = deepcopy(self.cfg)
        try:
            # It was fitted to the weights that were there
            self.void_calibration()
            try:
                yield
            except (OSError, BirnnError):
                # They say already what is wrong
                raise
            except Exception as e:
                raise BirnnError(Errors.E013.format(name=self.name, reason=e)) from e
            self._check_outputs()
        except BaseException:
            self.cfg = before
            raise

    def _check_outputs(self) -> None:
        n_scored = self.model.get_ref("output_layer").maybe_get_dim("nO")
        if n_scored is not None and n_scored != self.n_outputs:
            sizes = {"found": n_scored, "expected": self.n_outputs, "n_labels": len(self.labels)}
            raise BirnnError(Errors.E024.format(name=self.name, **sizes))


def smoothed(target: np.ndarray, rate: float, n: int) -> np.ndarray:
    """Label smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567): of n outcomes the
    right one keeps a probability of 1 - rate, and the others share the rate.

    target (np.ndarray): 1 where an outcome is right, 0 where it is wrong, any shape.
    """
    return target * (1 - rate) + (1 - target) * rate / max(1, n - 1)


def _checked(message: Dict[str, Any]) -> bytes:
    """What `to_bytes` has put beside its checksum."""
    if hashlib.sha256(message["data"]).hexdigest() != message["sha256"]:
        raise ValueError("its checksum does not match")
    return message["data"]
