"""Training with some settings of a config changed, as `tune` and `learning-curve` do many times."""

import io
import math
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional

from ._app import fail, read_config, say

if TYPE_CHECKING:
    from spacy.language import Language
    from thinc.api import Config

# The name under which `train` registers a logger for the training loop
LOGGER = "spacy-birnn.while_training"


def complete_config(path: Path, overrides: Mapping[str, Any]) -> "Config":
    """The config of a file with all settings that it has by default. Its variables are kept. The
    command ends if it can't be read, or has a setting that there is not."""
    from spacy.util import load_model_from_config

    config = read_config(path, overrides, interpolate=False)
    if "training" not in config:
        fail(f"'{path}' has no section [training]", "Fill it in with `spacy init fill-config`.")
    filled = load_model_from_config(config, auto_fill=True).config
    # Filling it in leaves out what there is not, where `spacy train` stops
    known = dict(settings_of(filled))
    if unknown := [name for name, _ in settings_of(config) if name not in known]:
        near = get_close_matches(unknown[0], known)
        hint = f"Do you mean '{near[0]}'?" if near else ""
        fail(f"'{path}', or an override, has a setting that there is not: {unknown[0]}", hint)
    return filled


def initialized(config: "Config") -> "Language":
    """The pipeline of a config, initialized with its training data. The command ends if that does
    not work, as training would not either, or if there is nothing to score it with."""
    from spacy.training.initialize import init_nlp
    from spacy.util import resolve_dot_names

    say("Initializing the pipeline with the training data")
    try:
        nlp = init_nlp(config)
        resolved = nlp.config.interpolate()
        (dev,) = resolve_dot_names(resolved, [resolved["training"]["dev_corpus"]])
        has_dev = any(True for _ in dev(nlp))
    except Exception as error:  # whatever it is, it would end training
        fail("Training would fail", f"{type(error).__name__}: {error}")
    if not has_dev:
        fail("The development data holds no documents", "Without them no score says what is best.")
    return nlp


def settings_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of all settings of a config, and of its sections, with their values."""
    for name, value in config.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from settings_of(value, f"{prefix}{name}.")


def with_settings(config: "Config", settings: Mapping[str, Any]) -> "Config":
    """A copy of a config with the values of some settings, by dotted names of what it has."""
    found = config.copy()
    for dotted, value in settings.items():
        *sections, name = dotted.split(".")
        section: Any = found
        for part in sections:
            section = section[part]
        section[name] = value
    return found


def train(
    config: "Config", label: str, evaluated: Optional[Callable[[int, float], None]] = None
) -> float:
    """Train a pipeline that is not kept, with a progress bar on standard error.

    config (Config): A complete config. Its logger is not used.
    label (str): What stands before the bar.
    evaluated (Optional[Callable[[int, float], None]]): Called with the step and the score (of
        [training.score_weights]) of each evaluation. What it raises ends training.
    RETURNS (float): The best score.
    RAISES (ValueError): If it is no number, as that of a scorer of the user's may be.
    """
    import tqdm
    from spacy.training import loop
    from spacy.training.initialize import init_nlp
    from spacy.util import registry

    scores: list[float] = []
    total = config.interpolate()["training"]["max_steps"] or None
    with tqdm.tqdm(total=total, desc=label, unit=" steps", leave=False, disable=None) as bar:

        def log_step(info: Optional[dict[str, Any]]) -> None:
            bar.update()
            if info is not None:
                scores.append(float(info["score"]))
                bar.set_postfix_str(f"score {scores[-1]:.4f}, best {max(scores):.4f}")
                if evaluated is not None:
                    evaluated(info["step"], scores[-1])

        logger = {"@loggers": LOGGER}
        registry.loggers.register(LOGGER, func=lambda: lambda *_: (log_step, lambda: None))
        nlp = init_nlp(with_settings(config, {"training.logger": logger}))
        loop.train(nlp, stdout=io.StringIO(), stderr=io.StringIO())
    best = max(scores)
    if not math.isfinite(best):
        raise ValueError(f"The score is {best}")
    return best
