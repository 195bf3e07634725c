from typing import Any, Callable, List

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from thinc.api import Model

TEXTS = [
    "A mouse called Stuart .",
    "x",
    "He paid 1,234.50 dollars to Dr. Who-Ever in extraordinarily-well-named-Llanfairpwllgwyngyll !",
    "",
    " ",
    "one two three four five six seven eight nine ten eleven twelve",
    "naïve 東京 \N{THUMBS UP SIGN} a\u0301",
]


@pytest.fixture(scope="session")
def docs() -> List[Doc]:
    """Texts of many lengths, one of them empty."""
    nlp = spacy.blank("en")
    return [nlp(text) for text in [*TEXTS, *TEXTS[::-1]]]


@pytest.fixture(scope="session")
def randomize() -> Callable[[Model], Model]:
    """Move all weights of a model, so that none is 0 and none is like another."""

    def move(model: Model) -> Model:
        random = np.random.RandomState(0)
        for node in model.walk():
            for name in node.param_names:
                param: Any = node.get_param(name)
                if param.dtype.kind == "f":
                    noise = random.normal(0, 0.1, param.shape)
                    node.set_param(name, (param + noise).astype("f"))
            for shim in node.shims:
                for param in shim.module.parameters() if hasattr(shim, "module") else ():
                    param.data += param.new_tensor(random.normal(0, 0.1, param.shape))
                if hasattr(shim, "module"):
                    shim.module.eval()
        return model

    return move
