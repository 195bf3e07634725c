"""What `birnn info` says of a pipeline's layers, against what is in its models."""

import json

import numpy as np
import pytest
import spacy
from typer.testing import CliRunner

import spacy_birnn.cli  # noqa: F401
from spacy_birnn.checks import CELLS
from spacy_birnn.cli._app import app
from spacy_birnn.cli.info import cell_parameters, second_bias
from spacy_birnn.layers.birnn import BiRNN

# Of the widths 1, 2, 8 and 64: one direction, both, and the width of the output
LECTURE = [(1, 5, 10, 2), (2, 12, 24, 4), (8, 96, 192, 16), (64, 4352, 8704, 128)]


def run(*args):
    result = CliRunner().invoke(app, ["info", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def run_json(*args):
    code, out, err = run(*args, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def path(nlp, tiny_tok2vec, make_examples, tmp_path):
    for name in ("birnn_ner", "birnn_textcat"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.add_pipe("birnn_lemmatizer")
    nlp.add_pipe("sentencizer")
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    return tmp_path / "model"


def test_the_table_of_the_lecture():
    rows = [row for row in run_json("--formula")["formula"] if row["cell"] == "rnn"]
    keys = ("width", "one_direction", "both_directions", "output_width")
    assert [tuple(row[key] for key in keys) for row in rows] == LECTURE
    code, out, _ = run("--formula")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "rnn nh + h² + h 64 4,352 8,704 128 128" in lines


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("direction", ["both", "backward"])
def test_the_formulas_are_those_of_the_layers(cell, depth, direction):
    module = BiRNN(7, 5, cell=cell, depth=depth, direction=direction)
    n = len(module.reverse)
    expected = n * cell_parameters(cell, 7, 5)
    if depth == 2:
        expected += n * cell_parameters(cell, 5 * n, 5, lowest=False)
    assert sum(weight.numel() for weight in module.parameters()) == expected


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_second_bias_is_that_of_torch(cell):
    import torch

    module = getattr(torch.nn, cell.upper())(7, 5)
    found = sum(weight.numel() for weight in module.parameters())
    assert found == cell_parameters(cell, 7, 5) + second_bias(cell, 5)


def test_every_parameter_is_counted_once(path, weights):
    report = run_json(path)
    nlp = spacy.load(path)
    models = [pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model")]
    every = [array for model in models for array in weights(model).values()]
    assert report["parameters"] == sum(a.size for a in every if a.dtype.kind == "f")
    assert report["bytes"] == sum(a.nbytes for a in every)
    assert sum(layer["share"] for layer in report["layers"]) == pytest.approx(1)
    assert report["unknown"] == [] and report["vectors"] is None
    recurrent = [layer for layer in report["layers"] if "formula" in layer]
    assert len(recurrent) == 6  # characters and tokens, twice, and the lemmatizer's two
    for layer in recurrent:
        assert layer["formula_parameters"] == layer["parameters"]
    encoder = next(x for x in report["layers"] if x["name"] == "birnn_encoder.layers.0")
    # 16 of the word, 96 of its spelling and 8 of its characters; two directions of 8
    assert encoder["shapes"] == {"W": [2, 120, 32], "U": [2, 8, 32], "b": [2, 1, 32]}
    assert encoder["parameters"] == 2 * 4 * (120 * 8 + 8**2 + 8)
    # Adam keeps two numbers for each parameter, and there is a gradient
    floats = sum(a.nbytes for a in every if a.dtype.kind == "f")
    assert report["training_bytes"] == report["bytes"] + 3 * floats


def test_the_tables_have_the_layers(path):
    code, out, _ = run(path)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    shapes = "birnn_encoder.layers.0 U 2×8×32, W 2×120×32, b 2×1×32 8,256 33.0 KB"
    assert any(line.startswith(shapes) for line in lines)
    formula = "lstm 2 × (4(nh + h² + h)), n = 120, h = 8 8,256 64"
    assert f"birnn_ner: birnn_encoder.layers.0 {formula}" in lines


def test_what_predicts_through_a_graph(path, make_examples, tmp_path):
    nlp = spacy.blank("en")
    assert set(run_json(path)["graphs"]) >= {"birnn_ner", "birnn_lemmatizer"}
    nlp.add_pipe("textcat")
    width = {"@architectures": "spacy.CharacterEmbed.v2", "width": 8, "rows": 9, "nM": 2, "nC": 2}
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {**width, "include_static_vectors": False},
        "encode": {"@architectures": "spacy-birnn.BiRNNEncoder.v1", "width": 8},
    }
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "other")
    assert run_json(tmp_path / "other")["graphs"] == {"birnn_ner": ["charembed"]}
    assert (
        "Predicts through ONNX Runtime: birnn_ner; as before: charembed"
        in run(tmp_path / "other")[1]
    )


def test_layers_that_components_share_are_counted_once(nlp, tiny_tok2vec, make_examples, tmp_path):
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    for name in ("birnn_tagger", "birnn_ner"):
        nlp.add_pipe(name, config={"model": {"tok2vec": listener}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    layers = run_json(tmp_path / "model")["layers"]
    assert [x["component"] for x in layers if x["name"] == "birnn_encoder.layers.0"] == ["tok2vec"]
    assert [x["name"] for x in layers if x["component"] == "birnn_tagger"] == ["sequence_scores"]


def test_word_vectors_are_apart(nlp, tiny_tok2vec, make_examples, tmp_path):
    for word in ("Anna", "Oslo"):
        nlp.vocab.set_vector(word, np.ones(3, dtype="f"))
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    vectors = run_json(tmp_path / "model")["vectors"]
    rows, width = vectors["shape"]
    assert width == 3 and rows >= 2 and vectors["bytes"] == 4 * rows * width


def test_a_config_has_the_sizes_of_what_it_trains(path):
    """But for what depends on the labels."""
    trained = run_json(path)
    planned = run_json(path / "config.cfg")
    assert [x["name"] for x in planned["layers"]] == [x["name"] for x in trained["layers"]]
    unknown = {x["name"] for x in planned["layers"] if x["parameters"] is None}
    labelled = {"linear", "sparse_linear", "lemmatizer.embed", "lemmatizer.generate"}
    assert unknown == {"sequence_scores", *labelled}
    for layer, plan in zip(trained["layers"], planned["layers"]):
        if plan["parameters"] is not None:
            assert plan["parameters"] == layer["parameters"]
    # The width of the input of the head is known, the number of tags is not
    head = next(x for x in planned["layers"] if x["name"] == "sequence_scores")
    assert head["shapes"]["W"] == [None, 16]
    assert any("sequence_scores" in text for text in planned["unknown"])
    code, out, _ = run(path / "config.cfg")
    assert code == 0 and "W ?×16" in out
    assert "Not known until data is seen: birnn_ner: sequence_scores" in out


def test_a_component_that_cannot_be_built_is_named(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_linker")
    nlp.config.to_disk(tmp_path / "config.cfg")
    report = run_json(tmp_path / "config.cfg")
    assert any("entity_linker" in text for text in report["unknown"])


def test_vectors_that_are_not_there(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("birnn_ner")
    nlp.config["initialize"]["vectors"] = "no_such_vectors"
    nlp.config.to_disk(tmp_path / "config.cfg")
    code, out, err = run(tmp_path / "config.cfg")
    assert code == 0 and "no_such_vectors" in err
    assert "Not known until data is seen: vectors: no_such_vectors" in out


def test_what_is_no_pipeline(tmp_path):
    code, out, err = run(tmp_path / "nothing")
    assert (code, out) == (1, "") and "nothing" in err
    code, out, err = run(tmp_path / "nothing.cfg")
    assert (code, out) == (1, "") and "nothing.cfg" in err
    (tmp_path / "empty.cfg").write_text("")
    code, out, err = run(tmp_path / "empty.cfg")
    assert (code, out) == (1, "") and "info stopped" in err
    code, _, err = run()
    assert code == 2 and "--formula" in err
