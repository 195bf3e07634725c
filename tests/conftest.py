"""What the whole suite shares: a seed, a tiny model, a few annotated sentences, and ways to train
and to compare. Test files have distinct names, so that no directory needs an `__init__.py` and the
package is imported from where it is installed."""

from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import pytest
import spacy
from hypothesis import settings
from spacy.language import Language
from spacy.tokens import Doc
from spacy.tokens.underscore import Underscore
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Model, fix_random_seed

# Slow machines and forgotten databases must not decide whether a test passes
settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("suite")

TINY_TOK2VEC = {
    "@architectures": "spacy-birnn.BiRNNTok2Vec.v1",
    "width": 16,
    "embed_width": 16,
    "embed_rows": 100,
    "char_width": 8,
    "word_dropout": 0.0,
    "spelling_dropout": 0.0,
    "dropout": None,
    "locked_dropout": None,
}

SENTENCES: List[Dict[str, Any]] = [
    {
        "words": ["Anna", "Berg", "flew", "from", "Oslo", "to", "New", "York", "."],
        "tags": ["NNP", "NNP", "VBD", "IN", "NNP", "TO", "NNP", "NNP", "."],
        "pos": ["PROPN", "PROPN", "VERB", "ADP", "PROPN", "ADP", "PROPN", "PROPN", "PUNCT"],
        "morphs": ["Number=Sing", "Number=Sing", "Tense=Past", "", "Number=Sing", ""]
        + ["Number=Sing", "Number=Sing", ""],
        "lemmas": ["Anna", "Berg", "fly", "from", "Oslo", "to", "New", "York", "."],
        "entities": ["B-PERSON", "L-PERSON", "O", "O", "U-GPE", "O", "B-GPE", "L-GPE", "O"],
        "cats": {"TRAVEL": 1.0, "TRADE": 0.0, "SLOGAN": 0.0},
    },
    {
        "words": ["They", "sell", "bread", "to", "Acme", "Foods", "Ltd", "."],
        "tags": ["PRP", "VBP", "NN", "TO", "NNP", "NNP", "NNP", "."],
        "pos": ["PRON", "VERB", "NOUN", "ADP", "PROPN", "PROPN", "PROPN", "PUNCT"],
        "morphs": ["Number=Plur|Person=3", "Tense=Pres", "Number=Sing", "", "Number=Sing"]
        + ["Number=Sing", "Number=Sing", ""],
        "lemmas": ["they", "sell", "bread", "to", "Acme", "Foods", "Ltd", "."],
        "entities": ["O", "O", "O", "O", "B-ORG", "I-ORG", "L-ORG", "O"],
        "cats": {"TRAVEL": 0.0, "TRADE": 1.0, "SLOGAN": 0.0},
    },
    {
        "words": ["Bread", "!"],
        "tags": ["NN", "."],
        "pos": ["NOUN", "PUNCT"],
        "morphs": ["Number=Sing", ""],
        "lemmas": ["bread", "!"],
        "entities": ["O", "O"],
        "cats": {"TRAVEL": 0.0, "TRADE": 0.0, "SLOGAN": 1.0},
    },
]

LONG_TEXT = "They flew from New York to Acme Foods Ltd ."
MIXED_TEXTS = ["Anna sells bread", "", "Oslo", LONG_TEXT, " ", "!"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="Run everything on a GPU, which needs CuPy")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gpu"):
        spacy.require_gpu()


@pytest.fixture(autouse=True)
def _seed() -> None:
    fix_random_seed(0)


@pytest.fixture
def no_extensions() -> Iterator[None]:
    """As in a process in which nothing has been registered with spaCy's objects."""
    state = Underscore.get_state()
    Underscore.load_state(({}, {}, {}))
    yield
    Underscore.load_state(state)


@pytest.fixture
def nlp() -> Language:
    # The tokenizer of "xx" is built and loaded several times faster than that of "en"
    return spacy.blank("xx")


@pytest.fixture(scope="session")
def tiny_tok2vec() -> Dict[str, Any]:
    """The settings of a tok2vec that trains in a moment."""
    return dict(TINY_TOK2VEC)


@pytest.fixture(scope="session")
def mixed_texts() -> List[str]:
    """Texts of many lengths, two of them without words."""
    return list(MIXED_TEXTS)


@pytest.fixture(scope="session")
def make_examples() -> Callable[[Language], List[Example]]:
    """A few sentences with tags, parts of speech, morphology, lemmas, entities and categories."""

    def make(nlp: Language) -> List[Example]:
        return [
            Example.from_dict(
                Doc(nlp.vocab, words=annotation["words"]),
                {key: value for key, value in annotation.items() if key != "words"},
            )
            for annotation in SENTENCES
        ]

    return make


@pytest.fixture(scope="session")
def fit() -> Callable[..., Dict[str, float]]:
    """Train a pipeline on some examples, from scratch or (`resume`) from where it is."""

    def train(
        nlp, examples, steps: int = 50, resume: bool = False, rate: float = 0.02
    ) -> Dict[str, float]:
        sgd = nlp.resume_training() if resume else nlp.initialize(lambda: examples)
        sgd.learn_rate = rate
        losses: Dict[str, float] = {}
        for _ in range(steps):
            losses = {}
            nlp.update(examples, sgd=sgd, losses=losses)
        return losses

    return train


@pytest.fixture(scope="session")
def weights() -> Callable[[Model], Dict[Any, np.ndarray]]:
    """All parameters of a model, by value: those of Thinc, and those inside torch modules."""

    def collect(model: Model) -> Dict[Any, np.ndarray]:
        found = {}
        for i, node in enumerate(model.walk()):
            for name in node.param_names:
                if node.has_param(name):
                    found[i, node.name, name] = model.ops.to_numpy(node.get_param(name)).copy()
            for shim in node.shims:
                for name, part in getattr(shim, "weights", {}).items():
                    found[i, node.name, name] = part.copy()
        return found

    return collect


@pytest.fixture(scope="session")
def same() -> Callable[[Dict[Any, np.ndarray], Dict[Any, np.ndarray]], bool]:
    """Whether two collections of weights have the same names, shapes and values."""

    def compare(first: Dict[Any, np.ndarray], second: Dict[Any, np.ndarray]) -> bool:
        return first.keys() == second.keys() and all(
            np.array_equal(first[key], second[key]) for key in first
        )

    return compare


@pytest.fixture(scope="session")
def unmoved() -> Callable[[Dict[Any, np.ndarray], Dict[Any, np.ndarray]], List[Any]]:
    """The names of what training did not move. Only what is of a float type can be trained."""

    def compare(before: Dict[Any, np.ndarray], after: Dict[Any, np.ndarray]) -> List[Any]:
        assert before.keys() == after.keys()
        trainable = [key for key in before if before[key].dtype.kind == "f"]
        return [key for key in trainable if np.array_equal(before[key], after[key])]

    return compare


@pytest.fixture(scope="session")
def reload() -> Callable[[Language], Language]:
    """A pipeline made anew from another's config and bytes."""

    def copy(nlp: Language) -> Language:
        return load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())

    return copy


@pytest.fixture(scope="session")
def randomize() -> Callable[..., None]:
    """Give the output layers, which start at 0, weights that mean nothing. With documents they are
    such that the scores of their tokens differ: no label is the best of all."""

    def fill(model: Model, scale: float = 1.0, docs: Optional[List[Doc]] = None) -> None:
        for ref in ("output_layer", "ngram_layer"):
            layer = model.maybe_get_ref(ref)
            for name in layer.param_names if layer is not None else ():
                values = np.random.normal(size=layer.get_param(name).shape) * scale
                values *= 5 if name == "W" else 1
                layer.set_param(name, layer.ops.asarray_f(values))
        if docs:
            head = model.get_ref("output_layer")
            xp = head.ops.xp
            X = xp.vstack(model.get_ref("tok2vec").predict(docs))
            W = head.get_param("W") / (X.std(axis=0) * X.shape[1] ** 0.5 * 3)
            head.set_param("W", W.astype("f"))
            head.set_param("b", (-W @ X.mean(axis=0)).astype("f"))

    return fill
