"""Bidirectional recurrent sequence models for spaCy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export import export_onnx as export_onnx
    from .models.prediction import set_threads as set_threads

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Every `spacy.blank()` imports this, so what is heavy waits until it is asked for
    if name == "export_onnx":
        from .export import export_onnx

        return export_onnx
    if name == "set_threads":
        from .models.prediction import set_threads

        return set_threads
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
