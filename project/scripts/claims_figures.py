"""What the figures and verdicts of claims.py are made of: results of several seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Distinguishable without colour vision (Okabe and Ito 2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"


@dataclass(frozen=True)
class Results:
    """What was measured: for each setting one dict of numbers a seed."""

    by_setting: dict[str, list[dict[str, float]]]

    @property
    def settings(self) -> list[str]:
        """What was varied."""
        return list(self.by_setting)

    def values(self, setting: str, *keys: str) -> list[float]:
        """For each seed the mean of the numbers under the keys."""
        return [sum(run[key] for key in keys) / len(keys) for run in self.by_setting[setting]]

    def mean(self, setting: str, *keys: str) -> float:
        """The mean over seeds and keys."""
        found = self.values(setting, *keys)
        return sum(found) / len(found)

    def show(self, setting: str, *keys: str, scale: float = 100, digits: int = 1) -> str:
        """The mean, and the lowest and highest of the seeds."""
        found = [scale * value for value in self.values(setting, *keys)]
        middle = f"{sum(found) / len(found):.{digits}f}"
        if len(found) == 1:
            return middle
        return f"{middle} ({min(found):.{digits}f} to {max(found):.{digits}f})"

    def compare(self, better: str, worse: str, *keys: str) -> str:
        """Whether one setting has the higher numbers, with words for how sure that is."""
        return verdict(self.values(better, *keys), self.values(worse, *keys))


def verdict(higher: Sequence[float], lower: Sequence[float]) -> str:
    """Whether the first are higher, one number a seed, with words for how sure that is."""
    if sum(higher) / len(higher) <= sum(lower) / len(lower):
        return "did not hold"
    if len(higher) == 1:
        return "held, with one seed"
    return "held" if min(higher) > max(lower) else "held on average, but the seeds overlap"


def lines(
    axes: Axes,
    results: Results,
    xs: Sequence[float],
    keys: Sequence[str],
    *,
    settings: Sequence[str] | None = None,
    scale: float = 100,
) -> None:
    """A line for each setting: the mean of the seeds at each key, and their range as a band."""
    for i, setting in enumerate(settings or results.settings):
        runs = [results.values(setting, key) for key in keys]
        middle = [scale * sum(found) / len(found) for found in runs]
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        axes.plot(xs, middle, label=setting, markersize=5, **style)
        low, high = ([scale * pick(found) for found in runs] for pick in (min, max))
        axes.fill_between(xs, low, high, alpha=0.15, color=style["color"], linewidth=0)


def bars(
    axes: Axes, results: Results, keys: dict[str, str], *, settings: Sequence[str] | None = None
) -> None:
    """A group of bars for each key, one bar a setting, with a dot for each seed."""
    chosen = list(settings or results.settings)
    width = 0.8 / len(chosen)
    for i, setting in enumerate(chosen):
        places = [n + (i - (len(chosen) - 1) / 2) * width for n in range(len(keys))]
        heights = [100 * results.mean(setting, key) for key in keys]
        axes.bar(places, heights, width * 0.92, color=COLOURS[i % len(COLOURS)], label=setting)
        for place, key in zip(places, keys, strict=True):
            found = [100 * value for value in results.values(setting, key)]
            axes.plot([place] * len(found), found, ".", color="black", markersize=4)
    axes.set_xticks(range(len(keys)), list(keys.values()))


def legend(axes: Axes) -> None:
    """Name the settings above the plot, where they hide nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    axes.legend(ncols=5, frameon=False, fontsize=8, borderaxespad=0.2, **place)


def save(
    path: Path, draw: Callable[[Any, Results], None], results: Results, *, panels: int
) -> None:
    """Draw a figure and write it as PNG and SVG.

    path (Path): Where to, without the ending.
    draw (Callable): Draws on the axes, or on a list of them if there are several panels.
    """
    figure, axes = plt.subplots(1, panels, figsize=(7.2, 3.6), layout="constrained")
    draw(axes, results)
    for one in axes if panels > 1 else [axes]:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    # No date and no random names: the same results give the same bytes
    with plt.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
