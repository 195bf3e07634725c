"""Morphological features and coarse parts of speech."""

from typing import Any, Callable, Dict, Iterable, Optional, Set, Tuple

import numpy as np
from spacy.language import Language
from spacy.morphology import Morphology
from spacy.pipeline import Morphologizer
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..checks import check_flag, check_rate, check_torch
from ..errors import BirnnError, Errors, ReportOnce, Warnings
from .base import Setting
from .sequence import SOFTMAX_MODEL, TokenLabeller


@Language.factory(
    "birnn_morphologizer",
    assigns=["token.morph", "token.pos"],
    default_config={
        "model": SOFTMAX_MODEL,
        "overwrite": True,
        "extend": False,
        "label_smoothing": 0.0,
        "scorer": {"@scorers": "spacy.morphologizer_scorer.v1"},
    },
    default_score_weights={"pos_acc": 0.5, "morph_acc": 0.5, "morph_per_feat": None},
)
def make_birnn_morphologizer(
    nlp: Language,
    name: str,
    model: Model,
    overwrite: bool,
    extend: bool,
    label_smoothing: float,
    scorer: Optional[Callable],
) -> "BiRNNMorphologizer":
    """Construct a morphologizer. See `BiRNNMorphologizer` for the settings."""
    return BiRNNMorphologizer(
        nlp.vocab,
        model,
        name,
        overwrite=overwrite,
        extend=extend,
        label_smoothing=label_smoothing,
        scorer=scorer,
    )


class BiRNNMorphologizer(TokenLabeller, Morphologizer):
    """Sets `token.morph` and `token.pos`. Labels, settings and annotation are those of spaCy's
    `Morphologizer`; the model and the loss are our own.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, `spacy-birnn.SequenceTagger.v1`.
    name (str): The component's name.
    overwrite (bool): Whether to replace what is already set.
    extend (bool): Whether to keep features that are already set and add others to them. With
        `overwrite` as well, a feature that is predicted replaces one of the same name.
    label_smoothing (float): Share of the probability that training gives to the other labels. Needs
        the output "softmax". Recommended: 0.0 to 0.2.
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001, E004, E005 for impossible settings.
    """

    overwrite = Setting(check_flag)
    extend = Setting(check_flag)
    label_smoothing = Setting(check_rate)

    def __init__(self, vocab: Vocab, model: Model, name: str, **settings: Any):
        super().__init__(vocab, model, name, **settings)
        self._report_unknown = ReportOnce(Warnings.W012)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Initialize the labels and the model. For the arguments see spaCy's `Morphologizer`.
        RAISES (ValueError): E020 for labels in another form."""
        if labels is not None and not (isinstance(labels, dict) and {"morph", "pos"} <= {*labels}):
            raise BirnnError(Errors.E020.format(name=self.name, value=repr(labels)))
        check_torch(self.name)
        self.void_calibration()
        super().initialize(get_examples, nlp=nlp, labels=labels)

    def gold_mask(self, eg: Example, unknown: Optional[Set[str]] = None) -> np.ndarray:
        index = {label: i for i, label in enumerate(self.labels)}
        known: Dict[Tuple[str, str], Optional[int]] = {}
        pos_tags = eg.get_aligned("POS", as_string=True)
        morphs = eg.get_aligned("MORPH", as_string=True)
        mask = np.ones((len(morphs), len(index)), dtype=bool)
        for i, key in enumerate(zip(pos_tags, morphs)):
            # Not aligned (None), or neither annotated ("" and "")
            if None in key or not any(key):
                continue
            if key not in known:
                label = self._label_of(*key)
                if label not in index and unknown is None:
                    # As in spaCy's morphologizer it counts as missing
                    self._report_unknown(name=self.name, label=label)
                    continue
                known[key] = self._label_index(label, index, unknown)
            place = known[key]
            mask[i] = False
            if place is not None:
                mask[i, place] = True
        return mask

    def _label_of(self, pos: str, morph: str) -> str:
        features = Morphology.feats_to_dict(morph)
        if pos:
            features[self.POS_FEAT] = pos
        return self.vocab.strings[self.vocab.morphology.add(features)]
