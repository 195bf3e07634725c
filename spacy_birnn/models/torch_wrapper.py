"""The one place where PyTorch meets Thinc: a shim around a torch module."""

import contextlib
import os
import threading
from copy import deepcopy
from importlib import import_module
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, cast

import numpy as np
import srsly
from safetensors.numpy import load, save
from thinc.api import (
    ArgsKwargs,
    Model,
    Optimizer,
    get_torch_default_device,
    torch2xp,
    xp2torch,
)
from thinc.shims import Shim
from thinc.types import FloatsXd

from ..checks import check_torch
from ..errors import BirnnError, Errors

# Recurrent layers learn best at three times the rate of 0.001 that spaCy's recommended [training]
# block has (benchmarks/README.md)
RECURRENT_RATE = 3.0


# How many threads torch has outside of `one_thread`, for each Python thread that is within
_numbers: List[int] = []
_numbers_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A child of this process must not find the lock held by a thread that it does not have
    os.register_at_fork(
        before=_numbers_lock.acquire,
        after_in_parent=_numbers_lock.release,
        after_in_child=_numbers_lock.release,
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and afterwards as many as before.

    The steps of a recurrence are small: shared out, on busy cores, the threads spend most of their
    time waiting for one another. And the threads of torch do not survive a fork: a child would wait
    for those of its parent forever.

    torch keeps a number for each Python thread, and one for the process that a Python thread takes
    over when it first uses torch. Those that come in here meanwhile are given the right number when
    they leave. One that does nothing with us but first uses torch meanwhile keeps the 1; only
    `torch.set_num_threads` in that thread can change that.
    """
    import torch

    with _numbers_lock:
        number = torch.get_num_threads()
        if number == 1 and _numbers:
            number = _numbers[0]
        _numbers.append(number)
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _numbers_lock:
            _numbers.remove(number)
            torch.set_num_threads(number)


# What the settings in `_without_tf32` were before the first of those that are within, and how many
# are within
_tf32: Tuple[List[Any], List[None]] = ([], [])


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Let a GPU multiply in full precision. By default cuDNN rounds what a recurrent layer
    multiplies to TensorFloat-32, so that a document has other scores in another batch (by 1e-3).
    The setting is one for the process."""
    import torch

    if not torch.cuda.is_initialized():
        yield
        return
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    # Since torch 2.9; using both old and new names is an error there
    is_new = hasattr(cudnn, "rnn")
    name, off = ("fp32_precision", "ieee") if is_new else ("allow_tf32", False)
    places: Tuple[Any, ...] = (cuda, cudnn.rnn if is_new else cudnn)
    before, within = _tf32
    with _numbers_lock:
        if not within:
            before[:] = [getattr(place, name) for place in places]
            for place in places:
                setattr(place, name, off)
        within.append(None)
    try:
        yield
    finally:
        with _numbers_lock:
            within.pop()
            if not within:
                for place, value in zip(places, before):
                    setattr(place, name, value)


@contextlib.contextmanager
def plain_torch() -> Iterator[None]:
    """Let torch work in one thread, in full precision and with gradients, whatever the caller has
    set: autocast, TensorFloat-32, inference mode or no_grad. All that this package does with torch
    happens in here, or in `one_thread` where the rest does not matter."""
    import torch

    cpu, cuda = (torch.autocast(device, enabled=False) for device in ("cpu", "cuda"))
    with one_thread(), _without_tf32(), cpu, cuda, torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def _on_cpu(layer_name: str) -> Iterator[None]:
    """The same, where tensors are made without a word on which device. Every module is made in
    here, so this is where torch is missed."""
    check_torch(layer_name)
    import torch

    with plain_torch(), torch.device("cpu"):
        yield


class TorchShim(Shim):
    """A module of PyTorch in a Thinc model. The module is made when it is first needed, which
    prediction on a CPU never does (see `prediction`): until then there are its weights alone, and
    torch is not imported. Weights are saved as safetensors; the parameter averages of [training]
    work.

    layer_name (str): Name for error messages.
    module_class (str): The module's class in `spacy_birnn.layers`, such as "birnn.BiRNN". It is
        imported when the module is made, and torch with it.
    settings (Dict[str, Any]): Those of the class's arguments that the config states. The others are
        known at initialization. All are saved beside the weights.
    rate_scale (float): What the optimizer's learning rate is multiplied by for this module.
    """

    def __init__(
        self,
        layer_name: str,
        module_class: str,
        settings: Dict[str, Any],
        *,
        rate_scale: float = 1.0,
    ):
        super().__init__(None)
        self.layer_name = layer_name
        self.module_class = module_class
        self.settings = settings
        self.rate_scale = rate_scale
        # Counts the changes of the weights
        self.version = 0
        # The weights that were loaded, until there is a module
        self._loaded: Optional[Dict[str, np.ndarray]] = None

    @property
    def module(self) -> Any:
        """The torch module. RAISES (ValueError): E010 before initialization, E012 for weights that
        do not fit it, E069 without torch."""
        loaded = self._loaded
        if self._model is None and loaded is not None:
            self._model, self._loaded = self._restored(loaded), None
        if self._model is None:
            raise BirnnError(Errors.E010.format(name=self.layer_name))
        return self._model

    @property
    def has_weights(self) -> bool:
        """Whether it has been initialized or loaded."""
        return self._model is not None or self._loaded is not None

    @property
    def weights(self) -> Dict[str, np.ndarray]:
        """The module's weights by their names, float32, on the CPU. They may share memory with it.
        RAISES (ValueError): E010 before initialization."""
        loaded = self._loaded
        if loaded is not None:
            return loaded
        state = self.module.state_dict()
        return {name: part.detach().cpu().numpy() for name, part in state.items()}

    def build(self, **inferred: Any) -> None:
        """Make a new module with fresh weights, from the settings and what was inferred. RAISES
        (ValueError): E069 without torch."""
        cfg = {**inferred, **self.settings}
        with _on_cpu(self.layer_name):
            self._model, self._loaded, self.cfg = self._make(cfg), None, cfg
        self._weights_changed()

    def _make(self, cfg: Dict[str, Any]) -> Any:
        file, name = self.module_class.split(".")
        module = getattr(import_module(f"spacy_birnn.layers.{file}"), name)(**cfg)
        # Also where torch's default type is another one
        return module.float().to(get_torch_default_device()).eval()

    def _restored(self, weights: Dict[str, np.ndarray]) -> Any:
        """A module with given weights."""
        with _on_cpu(self.layer_name):
            import torch

            # Copied: torch would share the memory of the file, which nobody may write to
            state = {name: torch.from_numpy(part.copy()) for name, part in weights.items()}
            try:
                module = self._make(self.cfg)
                module.load_state_dict(state, strict=True)
            except (RuntimeError, TypeError) as e:
                raise BirnnError(Errors.E012.format(name=self.layer_name, reason=e)) from e
        return module

    def _weights_changed(self) -> None:
        self.version += 1
        if self._model is not None:
            self._model.eval()  # what the layers have kept, too

    @property
    def device(self) -> Any:
        """Where the module is. One without parameters goes where the input is made."""
        first = next(self.module.parameters(), None)
        return get_torch_default_device() if first is None else first.device

    def to_device(self, device_type: str, device_id: int) -> None:
        if self._model is not None:
            self._model.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")
        self._weights_changed()

    def predict(self, inputs: ArgsKwargs) -> Any:
        import torch

        with torch.no_grad():
            return self.module(*inputs.args, **inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable]:
        import torch

        # In training mode in here only, also for the other threads that are predicting
        self.module.train()
        try:
            output = self.module(*inputs.args, **inputs.kwargs)
        finally:
            self.module.eval()

        def backprop(grads: ArgsKwargs) -> None:
            torch.autograd.backward(*grads.args, **grads.kwargs)

        return output, backprop

    def finish_update(self, optimizer: Any) -> None:
        with plain_torch():
            for name, param in self.module.named_parameters():
                if param.grad is not None:
                    # The optimizer may keep the gradient, as spaCy does in rehearse()
                    grad, param.grad = param.grad, None
                    key = (self.id, name)
                    # nlp.rehearse() has another callable here, which only takes the gradients
                    is_optimizer = isinstance(optimizer, Optimizer)
                    scale = {"lr_scale": self.rate_scale} if is_optimizer else {}
                    updated, _ = optimizer(key, torch2xp(param.data), torch2xp(grad), **scale)
                    # Copied: as its new data it would keep all those before alive, one behind the
                    # other
                    param.data.copy_(xp2torch(updated, device=param.device))
        self._weights_changed()

    @contextlib.contextmanager
    def use_params(self, params: Dict[Tuple[int, str], FloatsXd]) -> Iterator[None]:
        backup = {}
        for name, param in self.module.named_parameters() if self._model is not None else ():
            if (self.id, name) in params:
                backup[param] = param.data
                param.data = xp2torch(params[(self.id, name)], device=param.device)
        self._weights_changed()
        try:
            yield
        finally:
            for param, data in backup.items():
                param.data = data
            self._weights_changed()

    def copy(self) -> "TorchShim":
        copied = TorchShim(
            self.layer_name, self.module_class, self.settings, rate_scale=self.rate_scale
        )
        if self.has_weights:
            copied.from_bytes(self.to_bytes())
        return copied

    def __deepcopy__(self, memo: Dict[int, Any]) -> "TorchShim":
        copied = memo[id(self)] = type(self).__new__(type(self))
        # A module is copied as what the caller's mode allows, which may be inference mode
        with plain_torch() if self._model is not None else contextlib.nullcontext():
            copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied

    def to_bytes(self) -> bytes:
        if not self.has_weights:
            return srsly.msgpack_dumps({"config": {}, "state": b""})
        state = save({name: np.ascontiguousarray(part) for name, part in self.weights.items()})
        return srsly.msgpack_dumps({"config": self.cfg, "state": state})

    def from_bytes(self, bytes_data: bytes) -> "TorchShim":
        try:
            msg = srsly.msgpack_loads(bytes_data)
            cfg, state = msg["config"], msg["state"]
            if not state and not cfg:
                return self
            weights = load(state)
        except Exception as e:
            raise BirnnError(Errors.E011.format(name=self.layer_name, reason=e)) from e
        for name, value in self.settings.items():
            if "dropout" not in name and cfg.get(name) != value:
                reason = f"'{name}' was {cfg.get(name)!r} in training and is {value!r} now"
                raise BirnnError(Errors.E012.format(name=self.layer_name, reason=reason))
        self.cfg = {**cfg, **self.settings}
        if self._model is None:
            self._loaded = weights
        else:
            self._model = self._restored(weights)
        self._weights_changed()
        return self


def torch_shim(model: Model) -> TorchShim:
    """The shim of a Thinc model that wraps a torch module."""
    shim = model.shims[0]
    assert isinstance(shim, TorchShim)
    return shim


def run_module(
    model: Model, X: Any, *args: Any, is_train: bool, output: Optional[int] = None, **settings: Any
) -> Tuple[Any, Callable[[Any], Any]]:
    """Run a wrapped module on an array.

    model (Model): Its first shim is a `TorchShim`; its attr "dropout_rate", where it has one, is
        the rate set by training and goes to the module as its argument `drop`.
    X (ArrayXd): The module's first argument. If it is of a float type, the gradient flows back.
    *args: Further arguments, handed over as they are.
    output (Optional[int]): Which output to take, if the module gives a tuple. None takes the tuple;
        the gradient then flows through its first item.
    **settings: Further arguments by their names.
    RETURNS (Tuple[ArrayXd, Callable]): The output, and a callback from its gradient to that of X
        (None if X is not of a float type).
    """
    shim = torch_shim(model)
    shim.module  # E010 rather than an attribute of None
    needs_grad = is_train and X.dtype.kind == "f"
    drop = model.attrs.get("dropout_rate") or 0.0
    with plain_torch():
        X_ = xp2torch(X, requires_grad=needs_grad, device=shim.device)
        inputs = ArgsKwargs((X_, *args), {"drop": drop, **settings})
        if is_train:
            Y_, torch_backprop = shim.begin_update(inputs)
        else:
            Y_ = shim.predict(inputs)
    if output is not None:
        Y_ = Y_[output]
    main_ = Y_[0] if isinstance(Y_, tuple) else Y_

    def backprop(dY: Any) -> Any:
        with plain_torch():
            dY_ = xp2torch(dY, device=main_.device)
            torch_backprop(ArgsKwargs(((main_,),), {"grad_tensors": (dY_,)}))
        return torch2xp(cast(Any, X_.grad), ops=model.ops) if needs_grad else None

    return _to_arrays(Y_, model.ops), backprop


def _to_arrays(Y_: Any, ops: Any) -> Any:
    if isinstance(Y_, tuple):
        return tuple(_to_arrays(part, ops) for part in Y_)
    return None if Y_ is None else torch2xp(Y_.detach(), ops=ops)
