"""Part-of-speech tags."""

from typing import Callable, Iterable, Optional, Set

import numpy as np
from spacy.language import Language
from spacy.pipeline import Tagger
from spacy.training import Example, validate_get_examples
from thinc.api import Model

from ..checks import check_flag, check_rate, check_text, check_torch
from .base import Setting
from .sequence import SOFTMAX_MODEL, TokenLabeller


@Language.factory(
    "birnn_tagger",
    assigns=["token.tag"],
    default_config={
        "model": SOFTMAX_MODEL,
        "overwrite": False,
        "neg_prefix": "!",
        "label_smoothing": 0.0,
        "scorer": {"@scorers": "spacy.tagger_scorer.v1"},
    },
    default_score_weights={"tag_acc": 1.0},
)
def make_birnn_tagger(
    nlp: Language,
    name: str,
    model: Model,
    overwrite: bool,
    neg_prefix: str,
    label_smoothing: float,
    scorer: Optional[Callable],
) -> "BiRNNTagger":
    """Construct a tagger. See `BiRNNTagger` for the settings."""
    return BiRNNTagger(
        nlp.vocab,
        model,
        name,
        overwrite=overwrite,
        neg_prefix=neg_prefix,
        label_smoothing=label_smoothing,
        scorer=scorer,
    )


class BiRNNTagger(TokenLabeller, Tagger):
    """Sets `token.tag`. Labels, settings and annotation are those of spaCy's `Tagger`; the model
    and the loss are our own.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, `spacy-birnn.SequenceTagger.v1`.
    name (str): The component's name.
    overwrite (bool): Whether to replace tags that are already set.
    neg_prefix (str): What a tag of the annotation begins with that is known to be wrong, such as
        `!NN`: training moves the model away from that tag. Empty for none.
    label_smoothing (float): Share of the probability that training gives to the other tags. Needs
        the output "softmax". Recommended: 0.0 to 0.2.
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001, E004, E005 for impossible settings.
    """

    overwrite = Setting(check_flag)
    neg_prefix = Setting(check_text)
    label_smoothing = Setting(check_rate)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Initialize the labels and the model.

        get_examples (Callable[[], Iterable[Example]]): Gives a representative sample of the data.
        nlp (Optional[Language]): The pipeline that the component is part of.
        labels (Optional[Iterable[str]]): The labels, as `spacy init labels` writes them. None takes
            the tags of the examples.
        """
        self._check_labels(labels)
        check_torch(self.name)
        self.void_calibration()
        if labels is None:
            validate_get_examples(get_examples, "BiRNNTagger.initialize")
            tags = {token.tag_ for eg in get_examples() for token in eg.y}
            labels = sorted(tag for tag in tags if tag and not self._is_negative(tag))
        super().initialize(get_examples, nlp=nlp, labels=labels)

    def gold_mask(self, eg: Example, unknown: Optional[Set[str]] = None) -> np.ndarray:
        index = {label: i for i, label in enumerate(self.labels)}
        tags = eg.get_aligned("TAG", as_string=True)
        mask = np.ones((len(tags), len(index)), dtype=bool)
        for i, tag in enumerate(tags):
            if not tag:
                continue
            negative = self._is_negative(tag)
            name = tag[len(self.cfg["neg_prefix"]) :] if negative else tag
            label = self._label_index(name, index, unknown)
            mask[i] = negative
            if label is not None:
                mask[i, label] = not negative
        return mask

    def _is_negative(self, tag: str) -> bool:
        prefix = self.cfg["neg_prefix"]
        return bool(prefix) and tag.startswith(prefix) and len(tag) > len(prefix)
