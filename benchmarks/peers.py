"""Other libraries' networks for entities, of the widths of ours, and a bare LSTM as the limit of
what a recurrent network can reach. They run in an environment of their own, which needs neither
spaCy nor this package.

Nothing can be downloaded where benchmarks run, so the networks are not trained: how long they take
does not depend on their weights, except for the entities that they find, and a bias towards "no
entity" keeps those few. Tokens are given, so no library spends time on finding them.

python peers.py NAME FOLDER VOCABULARY    Build one of BUILDERS into FOLDER/NAME; prints the version
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The widths of project/configs/wnut17.cfg, and the labels of WNUT-17
WORD_WIDTH, CHAR_WIDTH, HIDDEN_WIDTH = 100, 25, 100
WORD_ROWS = 20_000
LABELS = ("corporation", "creative-work", "group", "location", "person", "product")
NO_ENTITY_BIAS = 3.0
# Of the bare LSTM: texts that are read together, and of those the texts of like lengths that share
# a call
BATCH, BUCKET = 256, 8

Tokens = Sequence[str]


def vocabulary(texts: Sequence[Tokens]) -> dict[str, list[str]]:
    """The most frequent words of texts, and their characters."""
    words = Counter(token for tokens in texts for token in tokens)
    characters = sorted({character for word in words for character in word})
    return {"words": [word for word, _ in words.most_common(WORD_ROWS)], "characters": characters}


def build_flair(folder: Path, words: list[str], characters: list[str]) -> None:
    """A SequenceTagger: vectors of words, LSTM over characters, LSTM over words, CRF."""
    import torch
    from flair.data import Dictionary
    from flair.embeddings import CharacterEmbeddings, OneHotEmbeddings, StackedEmbeddings
    from flair.models import SequenceTagger

    def dictionary(items: Sequence[str], *, add_unk: bool) -> Any:
        found = Dictionary(add_unk=add_unk)
        for item in items:
            found.add_item(item)
        return found

    labels = dictionary(LABELS, add_unk=False)
    labels.span_labels = True
    known = dictionary(words, add_unk=True), dictionary(characters, add_unk=True)
    embeddings = [
        OneHotEmbeddings(known[0], embedding_length=WORD_WIDTH),
        CharacterEmbeddings(known[1], CHAR_WIDTH, CHAR_WIDTH),
    ]
    tagger = SequenceTagger(
        embeddings=StackedEmbeddings(embeddings),
        tag_dictionary=labels,
        tag_type="ner",
        hidden_size=HIDDEN_WIDTH,
        use_crf=True,
    )
    with torch.no_grad():
        tagger.linear.bias[tagger.label_dictionary.get_idx_for_item("O")] += NO_ENTITY_BIAS
    tagger.save(folder / "model.pt")


class FlairReader:
    """`tagger.predict`, as Flair's tutorial has it."""

    def __init__(self, folder: Path) -> None:
        from flair.data import Sentence
        from flair.models import SequenceTagger

        self.make_sentence = Sentence
        self.tagger = SequenceTagger.load(folder / "model.pt")

    def many(self, texts: Sequence[Tokens]) -> int:
        sentences = [self.make_sentence(list(tokens)) for tokens in texts]
        self.tagger.predict(sentences, mini_batch_size=32)
        return sum(len(sentence) for sentence in sentences)

    def one(self, text: Tokens) -> int:
        sentence = self.make_sentence(list(text))
        self.tagger.predict(sentence)
        return len(sentence)


def build_stanza(folder: Path, words: list[str], characters: list[str]) -> None:
    """The network of the NER processor: vectors of words, LSTM over characters, LSTM over words,
    CRF."""
    import torch
    from stanza.models.common.doc import Document
    from stanza.models.ner.data import DataLoader
    from stanza.models.ner.trainer import Trainer
    from stanza.models.ner_tagger import parse_args

    widths = {
        "hidden_dim": HIDDEN_WIDTH,
        "word_emb_dim": WORD_WIDTH,
        "char_emb_dim": CHAR_WIDTH,
        "char_hidden_dim": CHAR_WIDTH,
    }
    options = [f"--{name}={width}" for name, width in widths.items()]
    args = parse_args([*options, "--no_pretrain", "--shorthand=en_none"])
    # The vocabularies are those of the training data
    known = [(word, "O") for word in [*words, *characters]]
    entities = [
        [("x", f"{part}-{label}") for part in parts] for label in LABELS for parts in ("BIE", "S")
    ]
    sentences = [
        [{"id": (i + 1,), "text": word, "ner": tag} for i, (word, tag) in enumerate(pairs)]
        for pairs in [known, *entities]
    ]
    vocab = DataLoader(Document(sentences), 32, args).vocab
    trainer = Trainer(args=args, vocab=vocab, device="cpu")
    with torch.no_grad():
        trainer.model.tag_clfs[0].bias[vocab["tag"].unit2id(["O"])[0]] += NO_ENTITY_BIAS
    trainer.save(str(folder / "model.pt"))
    # What a pipeline asks for that downloads nothing
    (folder / "resources.json").write_text("{}")


class StanzaReader:
    """A pipeline with the NER processor, as Stanza's documentation has it: `bulk_process` for many
    documents."""

    def __init__(self, folder: Path) -> None:
        import stanza

        self.nlp = stanza.Pipeline(
            "en",
            dir=str(folder),
            processors={"tokenize": "default", "ner": "default"},
            tokenize_pretokenized=True,
            ner_model_path=str(folder / "model.pt"),
            ner_pretrain_path="",
            ner_forward_charlm_path="",
            ner_backward_charlm_path="",
            allow_unknown_language=True,
            download_method=None,
            use_gpu=False,
            verbose=False,
        )

    def many(self, texts: Sequence[Tokens]) -> int:
        docs = self.nlp.bulk_process([" ".join(tokens) for tokens in texts])
        return sum(doc.num_tokens for doc in docs)

    def one(self, text: Tokens) -> int:
        return self.nlp(" ".join(text)).num_tokens


def build_lstm(folder: Path, words: list[str], characters: list[str]) -> None:
    """One bidirectional LSTM of ONNX, without anything before or after it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    width = WORD_WIDTH + 2 * CHAR_WIDTH
    rng = np.random.default_rng(0)
    shapes = {
        "W": (2, 4 * HIDDEN_WIDTH, width),
        "R": (2, 4 * HIDDEN_WIDTH, HIDDEN_WIDTH),
        "B": (2, 8 * HIDDEN_WIDTH),
    }
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype("float32"), name)
        for name, shape in shapes.items()
    ]
    node = helper.make_node(
        "LSTM",
        ["X", "W", "R", "B", "lengths"],
        ["Y"],
        hidden_size=HIDDEN_WIDTH,
        direction="bidirectional",
    )
    inputs = [
        helper.make_tensor_value_info("X", TensorProto.FLOAT, ["time", "batch", width]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    shape = ["time", 2, "batch", HIDDEN_WIDTH]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph([node], "lstm", inputs, outputs, weights)
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / "model.onnx")


class LSTMReader:
    """ONNX Runtime, texts of like lengths together. What goes in is noise that is there already."""

    def __init__(self, folder: Path) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.width = self.session.get_inputs()[0].shape[-1]
        self.noise = np.random.default_rng(0).normal(size=2**23).astype("float32")
        self.np = np

    def many(self, texts: Sequence[Tokens]) -> int:
        lengths = [len(tokens) for tokens in texts]
        for start in range(0, len(lengths), BATCH):
            batch = sorted(lengths[start : start + BATCH])
            for i in range(0, len(batch), BUCKET):
                self._run(batch[i : i + BUCKET])
        return sum(lengths)

    def one(self, text: Tokens) -> int:
        self._run([len(text)])
        return len(text)

    def _run(self, lengths: list[int]) -> None:
        shape = (max(lengths), len(lengths), self.width)
        X = self.noise[: shape[0] * shape[1] * shape[2]].reshape(shape)
        self.session.run(None, {"X": X, "lengths": self.np.array(lengths, dtype="int32")})


BUILDERS: dict[str, Callable[[Path, list[str], list[str]], None]] = {
    "flair": build_flair,
    "stanza": build_stanza,
    "lstm": build_lstm,
}
READERS: dict[str, Callable[[Path], Any]] = {
    "flair": FlairReader,
    "stanza": StanzaReader,
    "lstm": LSTMReader,
}
PACKAGES = {"flair": "flair", "stanza": "stanza", "lstm": "onnxruntime"}

if __name__ == "__main__":
    logging.disable(logging.INFO)
    name = sys.argv[1]
    out = Path(sys.argv[2]) / name
    out.mkdir(parents=True, exist_ok=True)
    BUILDERS[name](out, **json.loads(Path(sys.argv[3]).read_text(encoding="utf8")))
    print(version(PACKAGES[name]))
