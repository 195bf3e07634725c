"""How every component is saved: nothing is lost when that fails, no damaged model is loaded."""

import hashlib
import os
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Union

import srsly
from spacy.pipeline import TrainablePipe

from ..errors import Errors

# The file beside a component's model that holds its SHA-256
CHECKSUM = "model.sha256"


class SafelySaved(TrainablePipe):
    """A component whose model is saved with a checksum, all files or none, and that refuses a model
    that is damaged or not made for its labels. Among several base classes it comes first."""

    cfg: Dict[str, Any]

    @property
    def n_outputs(self) -> int:
        """Number of outputs that the model's output layer needs."""
        return len(self.labels)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Save the component. A file that exists is replaced when the new one is complete.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): Names of fields to leave out.
        RAISES (OSError): E016 if the directory cannot be written to.
        """
        model = self.model.to_bytes()
        files = {
            "cfg": srsly.json_dumps(self.cfg).encode("utf8"),
            "model": model,
            CHECKSUM: _sha256(model).encode("ascii"),
        }
        path = Path(path)
        try:
            path.mkdir(exist_ok=True)
            if "vocab" not in exclude:
                self.vocab.to_disk(path / "vocab", exclude=exclude)
            _write_all(path, {k: v for k, v in files.items() if k.split(".")[0] not in exclude})
        except OSError as e:
            reason = Errors.E016.format(name=self.name, path=path, reason=e)
            raise OSError(e.errno, reason) from e

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> TrainablePipe:
        """Load the component. RAISES (ValueError): E013 if the model is damaged, E024 if it does
        not fit the labels."""
        stated, model = Path(path) / CHECKSUM, Path(path) / "model"
        with self._loading():
            if stated.exists() and "model" not in exclude:
                _check_sha256(model.read_bytes(), stated.read_text(encoding="ascii"))
            return super().from_disk(path, exclude=exclude)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Save the component to bytes.

        exclude (Iterable[str]): Names of fields to leave out.
        """
        fields = srsly.msgpack_loads(super().to_bytes(exclude=exclude))
        if "model" in fields:
            fields[CHECKSUM] = _sha256(fields["model"])
        return srsly.msgpack_dumps(fields)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> TrainablePipe:
        """Load the component. RAISES (ValueError): as `from_disk`."""
        with self._loading():
            fields = srsly.msgpack_loads(bytes_data)
            if CHECKSUM in fields and "model" not in exclude:
                _check_sha256(fields["model"], fields[CHECKSUM])
            return super().from_bytes(bytes_data, exclude=exclude)

    def _check_labels(self, labels: Optional[Iterable[str]]) -> None:
        if isinstance(labels, str):
            raise ValueError(Errors.E020.format(name=self.name, value=labels))

    def _require_weights(self) -> None:
        if not self.model.get_ref("output_layer").has_param("W"):
            raise ValueError(Errors.E010.format(name=self.name))

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Report what fails, and keep the settings and labels that there were."""
        before = deepcopy(self.cfg)
        try:
            try:
                yield
            except OSError:
                raise
            except Exception as e:
                if str(e).startswith("[BIRNN-"):
                    # It says already what is wrong
                    raise
                raise ValueError(Errors.E013.format(name=self.name, reason=e)) from e
            self._check_outputs()
        except BaseException:
            self.cfg = before
            raise

    def _check_outputs(self) -> None:
        n_scored = self.model.get_ref("output_layer").maybe_get_dim("nO")
        if n_scored is not None and n_scored != self.n_outputs:
            sizes = {"found": n_scored, "expected": self.n_outputs, "n_labels": len(self.labels)}
            raise ValueError(Errors.E024.format(name=self.name, **sizes))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_sha256(data: bytes, stated: str) -> None:
    if _sha256(data) != stated:
        raise ValueError("its checksum does not match")


def _write_all(folder: Path, files: Dict[str, bytes]) -> None:
    """Write files so that either all of them are replaced or none."""
    parts = {name: folder / f"{name}.part" for name in files}
    try:
        for name, data in files.items():
            parts[name].write_bytes(data)
        for name, part in parts.items():
            os.replace(part, folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
