"""What `birnn tune` tries: the ranges that a config declares."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeGuard, Union

from ._app import fail
from ._training import settings_of, with_settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from thinc.api import Config

# A section for each setting to try, with a name of the user's choice
EXAMPLE = """[tune]
[tune.learn_rate]
setting = "training.optimizer.learn_rate"
low = 0.0005
high = 0.01
log = true
[tune.width]
setting = "components.birnn_ner.model.tok2vec.width"
choices = [64, 128, 256]"""
KEYS = ("setting", "low", "high", "log", "choices")


class Range(NamedTuple):
    """What a section of [tune] declares.

    name (str): The name of the section.
    setting (str): The dotted name of the setting.
    choices (tuple): All values; empty if there are bounds instead.
    low, high (Union[int, float]): The bounds, which are in it. Whole numbers if both are.
    log (bool): Whether the orders of magnitude are equally likely.
    """

    name: str
    setting: str
    choices: tuple[Any, ...] = ()
    low: Union[int, float] = 0
    high: Union[int, float] = 0
    log: bool = False

    @property
    def distribution(self) -> "BaseDistribution":
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return distributions.IntDistribution(self.low, self.high, log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)

    def __contains__(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        return _is_number(value) and self.low <= value <= self.high


def read_ranges(config: "Config") -> list[Range]:
    """What the section [tune] of a complete config declares. Each bound and choice is tried in the
    pipeline, untrained. The command ends if there is no range, or one that can't be used."""
    sections = config.interpolate().get("tune", {})
    if not sections:
        fail("The config has no section [tune] with ranges", EXAMPLE)
    found = [_read_range(name, section, config) for name, section in sections.items()]
    settings = [one.setting for one in found]
    for one in found:
        if settings.count(one.setting) > 1:
            fail(f"[tune.{one.name}]", f"'{one.setting}' has another range. Leave one of them out.")
        for value in one.choices or (one.low, one.high):
            _try(config, one, value)
    return found


def _try(config: "Config", one: Range, value: Any) -> None:
    from spacy.util import load_model_from_config

    try:
        load_model_from_config(with_settings(config, {one.setting: value}), auto_fill=True)
    except Exception as error:  # whatever an architecture says of it
        fail(f"[tune.{one.name}]: {one.setting} can't be {value!r}", str(error))


def _read_range(name: str, section: Any, config: "Config") -> Range:
    def wrong(reason: str) -> NoReturn:
        fail(f"[tune.{name}]", f"{reason}\n\n{EXAMPLE}")

    if not isinstance(section, dict):
        fail(f"[tune] has the value {name} = {section!r}", EXAMPLE)
    if unknown := [key for key in section if key not in KEYS]:
        wrong(f"There is no '{unknown[0]}'. A range has: {', '.join(KEYS)}.")
    setting = str(section.get("setting"))
    known = {dotted: value for dotted, value in settings_of(config) if "." in dotted}
    if setting not in known or isinstance(known[setting], dict):
        near = get_close_matches(setting, known)
        hint = f" Do you mean '{near[0]}'?" if near else ""
        wrong(f"setting = '{setting}' is no setting of the config.{hint}")
    if "choices" in section:
        choices = section["choices"]
        plain = isinstance(choices, list) and all(
            value is None or isinstance(value, (bool, int, float, str)) for value in choices
        )
        if not plain or len(choices) < 2 or len(section) > 2:
            wrong(f"choices must be a list of values, without low, high and log: {choices!r}.")
        return Range(name, setting, tuple(choices))
    low, high, log = (section.get(key) for key in ("low", "high", "log"))
    if not (_is_number(low) and _is_number(high) and low < high):
        wrong(f"low must be a number less than high, but they are {low!r} and {high!r}.")
    if log not in (None, True, False) or (log and low <= 0):
        wrong(f"log must be true or false, and true only if low is above 0, but it is {log!r}.")
    return Range(name, setting, (), low, high, bool(log))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
