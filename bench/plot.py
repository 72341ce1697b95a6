"""The figures as a picture: each way's median and range, to those of a reference."""

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from bench.report import LARGE, SMALL, Raw

LABELS = {
    "plaintext": "buildkitd, no TLS",
    "upstream": "upstream's manifests",
    "http2": "this program, http2",
    "tcp": "this program, tcp",
    "driver": "kubernetes driver",
}
_OURS, _OTHERS = "#1f77b4", "#8a8a8a"

_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.size": 9,
    "font.family": "sans-serif",
}


class Panel(NamedTuple):
    """One comparison."""

    title: str
    seconds: Mapping[str, Sequence[float]]
    reference: str
    limit: float
    """The target for `http2`."""


def panels(raw: Raw) -> list[Panel]:
    """What is shown, from left to right."""
    builds = raw["builds"]
    return [
        Panel("small build, buildctl", builds[SMALL], "upstream", 1.05),
        Panel("600 MB, buildctl", builds[LARGE], "upstream", 1 / 0.95),
        Panel("600 MB, buildx", builds["600 MB, buildx"], "upstream", 1 / 0.95),
        Panel("first build", raw["first"], "driver", 0.4),
    ]


def svg(raw: Raw) -> str:
    """The picture, the same for the same figures."""
    shown = panels(raw)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        for axes, panel in zip(figure.subplots(2, 2).flat, shown, strict=True):
            _draw(axes, panel)
        figure.supxlabel("bars: medians; lines: ranges; dashed: target of http2", fontsize=8)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _draw(axes: Axes, panel: Panel) -> None:
    reference = statistics.median(panel.seconds[panel.reference])
    for row, (way, seconds) in enumerate(panel.seconds.items()):
        color = _OURS if way in ("http2", "tcp") else _OTHERS
        median = statistics.median(seconds) / reference
        axes.barh(row, median, color=color, height=0.6)
        axes.plot([min(seconds) / reference, max(seconds) / reference], [row, row], color="black")
        axes.text(1.02, row, f"{median:.2f}", va="center", transform=axes.get_yaxis_transform())
    axes.axvline(panel.limit, color="#d62728", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(panel.seconds)), [LABELS[way] for way in panel.seconds])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_title(f"{panel.title}, {LABELS[panel.reference]} = 1", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
