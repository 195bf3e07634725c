"""The states along a text are those of the encoder."""

import numpy as np
import pytest
import spacy

from spacy_birnn.tracing import Trace, encoders_of, trace

TEXT = "Anna Berg flew from Oslo to New York ."


def test_the_states_are_what_the_encoder_gives(nlp, tiny_tok2vec, make_examples):
    for name in ("birnn_ner", "birnn_tagger"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    assert list(encoders_of(nlp)) == ["birnn_ner", "birnn_tagger"]
    doc = nlp.make_doc(TEXT)
    output = nlp.get_pipe("birnn_tagger").model.get_ref("tok2vec").predict([doc])[0]
    forward, backward = trace(nlp, doc, pipe="birnn_tagger")
    assert (forward.direction, backward.direction) == ("forward", "backward")
    assert forward.words == TEXT.split()
    states = np.concatenate([forward.states, backward.states], axis=1)
    assert np.allclose(states, output, atol=1e-6)
    for found in (forward, backward):
        assert [*found.gates] == ["input", "forget", "output"]
        for gate in found.gates.values():
            assert gate.shape == found.states.shape and (gate > 0).all() and (gate < 1).all()
        # A state is what the output gate lets through of a value between -1 and 1
        assert (np.abs(found.states) <= found.gates["output"]).all()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_one_direction_two_layers_and_a_shared_tok2vec(tiny_tok2vec, direction):
    nlp = spacy.blank("xx")
    config = {**tiny_tok2vec, "direction": direction, "depth": 2, "dropout": 0.1}
    nlp.add_pipe("tok2vec", config={"model": config})
    nlp.initialize(lambda: [spacy.training.Example.from_dict(nlp.make_doc("Oslo"), {})])
    (found,) = trace(nlp, nlp.make_doc(TEXT))
    assert found.direction == direction
    assert np.allclose(found.states, nlp(TEXT).tensor, atol=1e-6)


def test_norms_and_changes_follow_the_reading():
    states = np.array([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    words = ["a", "b", "c"]
    forward, backward = (Trace(d, words, states, {}) for d in ("forward", "backward"))
    assert forward.norms.tolist() == backward.norms.tolist() == [5.0, 5.0, 0.0]
    assert forward.changes.tolist() == [5.0, 0.0, 5.0]
    assert backward.changes.tolist() == [0.0, 5.0, 0.0]
