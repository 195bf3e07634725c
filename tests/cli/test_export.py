"""`birnn export`: which component is meant. What is in the file is tested in tests/compiler."""

import onnx


def test_a_file_and_what_it_says_of_itself(invoke, trained_path, tmp_path):
    out = tmp_path / "new" / "ner.onnx"
    result = invoke("export", trained_path, out, "--pipe", "birnn_ner")
    assert result.exit_code == 0
    model = onnx.load(out)
    assert result.stdout == model.doc_string and "transitions" in result.stdout
    assert f"Saved 'birnn_ner' to {out}" in result.stderr.replace("\n", " ")
    half = tmp_path / "half.onnx"
    assert invoke("export", trained_path, half, "--pipe", "birnn_ner", "--float16").exit_code == 0
    assert half.stat().st_size < out.stat().st_size


def test_which_component_is_meant(invoke, trained_path, tmp_path):
    out = tmp_path / "a.onnx"
    result = invoke("export", trained_path, out)
    assert result.exit_code == 1 and "birnn_tagger" in result.stderr and "--pipe" in result.stderr
    result = invoke("export", trained_path, out, "--pipe", "ner")
    assert result.exit_code == 1 and "'ner'" in result.stderr and "birnn_ner" in result.stderr
    assert not out.exists()


def test_the_only_one_needs_no_name(invoke, nlp, tiny_tok2vec, make_examples, tmp_path):
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.add_pipe("birnn_lemmatizer", config={"model": {"width": 16}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    out = tmp_path / "a.onnx"
    assert invoke("export", tmp_path / "model", out).exit_code == 0
    assert onnx.load(out).doc_string.startswith("The component 'birnn_tagger'")
    result = invoke("export", tmp_path / "model", out, "--pipe", "birnn_lemmatizer", "-F")
    assert result.exit_code == 1 and "BIRNN-E100" in result.stderr


def test_nothing_is_overwritten_unasked(invoke, trained_path, tmp_path):
    out = tmp_path / "a.onnx"
    out.write_text("what was there")
    result = invoke("export", trained_path, out, "--pipe", "birnn_ner")
    assert result.exit_code == 1 and "--force" in result.stderr
    assert out.read_text() == "what was there"
