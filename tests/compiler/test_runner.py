"""Sessions of ONNX Runtime."""

import onnxruntime
import pytest

from spacy_birnn.compiler import graph
from spacy_birnn.errors import BirnnError


def test_a_runtime_that_cannot_run_the_graph_is_named(
    nlp, tiny_tok2vec, make_examples, fit, monkeypatch
):
    """As an older one, to which the operators are those of a version to come."""
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    fit(nlp, make_examples(nlp), steps=1)
    monkeypatch.setattr(graph, "OPSET", 1000)
    with pytest.raises(BirnnError, match="BIRNN-E068.*pip install") as caught:
        nlp("Anna flew from Oslo")
    assert onnxruntime.__version__ in str(caught.value)
    # It is not taken for a graph
    monkeypatch.undo()
    assert len(nlp("Anna flew from Oslo")) == 4
