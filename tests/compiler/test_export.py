"""Components as files of ONNX: what comes out of a file is what the component says, and the recipe
of the documentation needs neither spaCy nor Thinc nor torch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from spacy.strings import get_string_id
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import NumpyOps

import spacy_birnn
from spacy_birnn import export
from spacy_birnn.compiler.graph import Graph
from spacy_birnn.compiler.hashing import hash_embed_keys, ngram_keys
from spacy_birnn.errors import BirnnError

PAGE = Path(__file__).parent.parent.parent / "docs" / "exporting.md"
# Known and unknown words, names of spaCy's symbols, several scripts, long words, a single word
TEXTS = [
    ["Anna", "Berg", "flew", "from", "Oslo", "to", "New", "York", "."],
    ["They", "sell", "Bread", "to", "Bread", "Foods", "Ltd", "."],
    ["mark", "X", "NOUN", "det", "LOC", "Oslo", "a"],
    ["zwölf", "東京", "Ünïcödé", "\U0001f600\U0001f600", "İstanbul", "ß", "٣٤", "x\ny"],
    [
        "12345678",
        "1,234.50",
        "aaaaaaa",
        "Donaudampfschifffahrtsgesellschaftskapitän" * 2,
        "y" * 120,
    ],
    ["Oslo"],
]
MULTI_HASH = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 16,
        "attrs": ["LOWER", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [100, 50, 50, 50],
        "include_static_vectors": False,
    },
    "encode": {"@architectures": "spacy-birnn.BiRNNEncoder.v1", "width": 16},
}
# Settings of the component, of its model and of its tok2vec
VARIANTS = {
    "ner": ("birnn_ner", {}, {}, {}),
    "ner, BIO, heads": ("birnn_ner", {"scheme": "BIO"}, {"attention_heads": 2}, {"depth": 2}),
    "ner, softmax": ("birnn_ner", {}, {"output": "softmax"}, {"char_width": None}),
    "ner, grid, independent": (
        *("birnn_ner", {}, {}),
        {"cell": "grid_lstm", "depth": 2, "stack": "independent"},
    ),
    "tagger, rnn, sum": ("birnn_tagger", {}, {}, {"cell": "rnn", "merge": "sum"}),
    "tagger, crf, peepholes": ("birnn_tagger", {}, {"output": "crf"}, {"cell": "peephole_lstm"}),
    "morphologizer, gru, forward": (
        *("birnn_morphologizer", {}, {}),
        {"cell": "gru", "direction": "forward"},
    ),
    "textcat": ("birnn_textcat", {}, {"ngram_rows": 50}, {}),
    "textcat, mean, one word": (
        *("birnn_textcat", {}, {"pooling": "mean", "ngram_rows": 50, "ngram_size": 1}),
        {},
    ),
    "multilabel, max, three words": (
        *("birnn_textcat_multilabel", {}),
        {"pooling": "max", "ngram_rows": 70, "ngram_size": 3},
        {},
    ),
    "multilabel, last, no words": (
        *("birnn_textcat_multilabel", {}, {"pooling": "last", "ngram_size": 0}),
        {},
    ),
}


def recipe():
    """The recipe of the documentation, without the call at its end."""
    (code,) = re.findall(
        r"```python\n(import json\n.*?)^session = ", PAGE.read_text("utf8"), re.S | re.M
    )
    return code


@pytest.fixture(scope="module")
def functions():
    names = {}
    exec(compile(recipe(), str(PAGE), "exec"), names)
    return names


@pytest.fixture
def make(nlp, tiny_tok2vec, make_examples, randomize):
    """A component whose scores mean nothing, but differ."""

    def add(factory, config, model, tok2vec):
        tok2vec = tok2vec if "@architectures" in tok2vec else {**tiny_tok2vec, **tok2vec}
        pipe = nlp.add_pipe(factory, config={**config, "model": {**model, "tok2vec": tok2vec}})
        examples = make_examples(nlp)
        sgd = nlp.initialize(lambda: examples)
        # So that names of symbols are among the words that it knows
        symbols = Example.from_dict(Doc(nlp.vocab, words=["mark", "det"]), {})
        for _ in range(3):
            nlp.update([*examples, symbols], sgd=sgd)
        randomize(pipe.model)
        return pipe

    return add


def docs_of(pipe):
    return [Doc(pipe.vocab, words=words) for words in TEXTS]


def outputs(pipe, path, functions, **extra):
    """What the file of a component says of the texts."""
    spacy_birnn.export_onnx(pipe, path)
    return run(path, functions, **extra)


def run(path, functions, **extra):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {**functions["read"](TEXTS), **extra}
    found = session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})
    return dict(zip([node.name for node in session.get_outputs()], found))


def check(pipe, found):
    """Whether that is what the component says itself."""
    docs = docs_of(pipe)
    if "probabilities" in found:
        said = np.stack([cats.probabilities for cats in pipe.predict(docs)])
        assert said.std() > 0.01
        assert np.allclose(found["probabilities"], said, atol=1e-5)
        attention = pipe.model.predict(docs).attention
        assert (attention is None) == ("attention" not in found)
        if attention is not None:
            assert np.allclose(found["attention"], np.concatenate(attention), atol=1e-5)
    else:
        said = pipe._scores(docs)
        assert said.emissions.std() > 0.1
        assert np.allclose(found["scores"], said.emissions, atol=1e-4)
        for name in ("transitions", "start", "end"):
            part = getattr(said, name)
            assert (part is None) == (name not in found)
            assert part is None or np.allclose(found[name], part, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_says_what_the_component_says(variant, make, functions, tmp_path):
    pipe = make(*VARIANTS[variant])
    pipe.temperature = 1.7
    check(pipe, outputs(pipe, tmp_path / "a.onnx", functions))


def test_texts_do_not_depend_on_each_other(make, functions, tmp_path):
    spacy_birnn.export_onnx(make(*VARIANTS["textcat"]), tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    together = functions["run"](session, TEXTS)["probabilities"]
    alone = [functions["run"](session, [text])["probabilities"][0] for text in TEXTS]
    assert np.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("train_vectors", [False, True])
def test_word_vectors_are_an_input(train_vectors, nlp, make, functions, tmp_path):
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype("f")
    for word, row in zip(("oslo", "Anna", "00000000"), rows):
        nlp.vocab.set_vector(word, row)
    pipe = make("birnn_tagger", {}, {}, {"train_vectors": train_vectors})
    found = {"Oslo": rows[0], "Anna": rows[1], "12345678": rows[2]}
    vectors = [found.get(word, np.zeros(4)) for text in TEXTS for word in text]
    static = np.array(vectors, dtype="float32")
    check(pipe, outputs(pipe, tmp_path / "a.onnx", functions, static_vectors=static))


def test_spacys_embedding_reads_hashes_of_attributes(nlp, make, functions, tmp_path):
    pipe = make("birnn_tagger", {}, {}, MULTI_HASH)
    hashes = {}
    for name in ("lower", "prefix", "suffix", "shape"):
        strings = [getattr(token, f"{name}_") for doc in docs_of(pipe) for token in doc]
        hashes[name] = np.array([functions["string_hash"](s) for s in strings], dtype="uint64")
    check(pipe, outputs(pipe, tmp_path / "a.onnx", functions, **hashes))


def test_a_tok2vec_gives_vectors(nlp, tiny_tok2vec, make_examples, functions, tmp_path):
    pipe = nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    nlp.initialize(lambda: make_examples(nlp))
    found = outputs(pipe, tmp_path / "a.onnx", functions)
    said = np.concatenate(pipe.model.predict(docs_of(pipe)))
    assert found["vectors"].shape == said.shape and np.allclose(found["vectors"], said, atol=1e-5)


RUN = """
import sys

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spacy", "spacy_birnn", "thinc", "torch", "murmurhash"):
            raise ImportError(name)

sys.meta_path.insert(0, NotThere())
{recipe}
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(json.dumps([find_entities(session, words) for words in json.loads(sys.argv[2])]))
"""


def test_the_recipe_finds_the_entities_without_spacy(make, tmp_path):
    pipe = make(*VARIANTS["ner"])
    spacy_birnn.export_onnx(pipe, tmp_path / "ner.onnx")
    texts = [*TEXTS, []]
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            RUN.format(recipe=recipe()),
            tmp_path / "ner.onnx",
            json.dumps(texts),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    docs = [*docs_of(pipe), Doc(pipe.vocab, words=[])]
    said = [[(s, e, pipe.labels[i]) for s, e, i in found.spans] for found in pipe.predict(docs)]
    assert sum(map(len, said)) > 5
    assert [[tuple(ent) for ent in ents] for ents in json.loads(result.stdout)] == said


def test_the_hash_of_a_string_is_spacys(functions):
    for word in ("a", "Oslo", "12345678", "123456789", "東京", "y" * 500):
        assert functions["string_hash"](word) == get_string_id(word)


def test_the_hashes_of_ids_are_thincs():
    ids = np.random.default_rng(0).integers(0, 2**64, size=50, dtype="uint64")
    ids[:2] = 0, 2**64 - 1
    graph, ops = Graph(), NumpyOps()
    parts = [graph.input(f"ids_{i}", "int64", [None]) for i in range(3)]
    graph.output("table", hash_embed_keys(graph, parts[0], 11), "int64", [None, 4])
    graph.output("ngrams", ngram_keys(graph, parts), "int64", [None])
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    shifted = {part: ids.view("int64")[i : 48 + i] for i, part in enumerate(parts)}
    table, ngrams = session.run(None, shifted)
    assert (table == ops.hash(ids[:48], 11)).all()
    assert (ngrams.view("uint64") == ops.ngrams(3, ids)).all()


def test_what_the_file_says_of_itself(make, tmp_path):
    pipe = make(*VARIANTS["ner, BIO, heads"])
    pipe.threshold = {"ORG": 0.7}
    model = spacy_birnn.export_onnx(pipe, tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx") == model
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    found = session.get_modelmeta()
    metadata = {name: found.custom_metadata_map[name] for name in ("component", "name", "scheme")}
    assert metadata == {"component": "birnn_ner", "name": "birnn_ner", "scheme": "BIO"}
    assert json.loads(found.custom_metadata_map["labels"]) == list(pipe.labels)
    assert json.loads(found.custom_metadata_map["tags"]) == pipe.tag_names
    assert json.loads(found.custom_metadata_map["threshold"]) == {"ORG": 0.7}
    for node in (*session.get_inputs(), *session.get_outputs()):
        assert f"- {node.name}, " in found.description
    assert all(info.doc_string for info in (*model.graph.input, *model.graph.output))


def test_half_the_size(make, functions, tmp_path):
    pipe = make("birnn_tagger", {}, {}, {"embed_rows": 5000})
    exact = outputs(pipe, tmp_path / "a.onnx", functions)
    spacy_birnn.export_onnx(pipe, tmp_path / "b.onnx", float16=True)
    half = run(tmp_path / "b.onnx", functions)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.onnx", "b.onnx")]
    assert sizes[1] < 0.65 * sizes[0]
    error = abs(half["scores"] - exact["scores"]).max()
    assert 0 < error < 0.01 * abs(exact["scores"]).max()


def refused(pipe, path):
    path.write_text("what was there")
    with pytest.raises(BirnnError) as error:
        spacy_birnn.export_onnx(pipe, path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "what was there"
    return error.value


def test_what_is_no_component_of_ours(nlp, tmp_path):
    for factory in ("birnn_lemmatizer", "ner", "sentencizer"):
        error = refused(nlp.add_pipe(factory), tmp_path / "a.onnx")
        assert error.code == "E100" and f"'{factory}'" in str(error)


def test_a_listener_gets_a_copy_first(nlp, tiny_tok2vec, make_examples, functions, tmp_path):
    nlp.add_pipe("tok2vec", name="shared", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "shared"}
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": listener}})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=sgd)
    error = refused(nlp.get_pipe("birnn_tagger"), tmp_path / "a.onnx")
    assert error.code == "E101"
    call = re.search(r"nlp\.replace_listeners\(.*\)", str(error))[0]
    exec(call, {"nlp": nlp})
    found = outputs(nlp.get_pipe("birnn_tagger"), tmp_path / "a.onnx", functions)
    said = nlp.get_pipe("birnn_tagger").model.predict(docs_of(nlp)).emissions
    assert np.allclose(found["scores"], said, atol=1e-5)


def test_a_layer_without_operators(make, tmp_path):
    embed = {"@architectures": "spacy.CharacterEmbed.v2", "width": 16, "rows": 50}
    embed.update(nM=8, nC=4, include_static_vectors=False)
    pipe = make("birnn_tagger", {}, {}, {**MULTI_HASH, "embed": embed})
    error = refused(pipe, tmp_path / "a.onnx")
    assert error.code == "E102" and "'charembed'" in str(error)


def test_too_large_for_a_file(make, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LIMIT", 1000)
    assert refused(make(*VARIANTS["ner"]), tmp_path / "a.onnx").code == "E103"


@pytest.mark.parametrize("factory", ["birnn_ner", "birnn_textcat", "tok2vec"])
def test_before_initialization(factory, nlp, tiny_tok2vec, tmp_path):
    model = tiny_tok2vec if factory == "tok2vec" else {"tok2vec": tiny_tok2vec}
    pipe = nlp.add_pipe(factory, config={"model": model})
    assert refused(pipe, tmp_path / "a.onnx").code == "E010"


def test_the_package_alone_imports_little():
    code = "import sys, spacy_birnn; assert not {'onnx', 'spacy', 'thinc'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
