"""A few figures in one style, each with words that say the same: for those who cannot see it, and to check the eye.

A figure is drawn without pyplot: nothing stays open, no backend is chosen for the caller.
"""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import MetricsError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plot", "burn_down", "lines"]

# Okabe and Ito's colours: told apart also by those who do not see red from green
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b6b6b"
_STYLE: Any = {
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.prop_cycle": f"cycler('color', {[BLUE, ORANGE, GREEN, RED, GREY]})",
    "grid.alpha": 0.25,
    "font.size": 10,
}


@dataclass(frozen=True)
class Plot:
    """A figure and the ``words`` that say what it shows; a notebook displays both."""

    figure: "Figure"
    words: str

    def png(self) -> bytes:
        """Return the figure as a PNG image."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        words = html.escape(self.words)
        image = base64.b64encode(self.png()).decode()
        return (
            f'<figure style="margin:0"><img style="max-width:100%" alt="{words}" '
            f'src="data:image/png;base64,{image}"><figcaption>{words}</figcaption></figure>'
        )

    def __repr__(self) -> str:
        return self.words


def burn_down(spent: "pd.Series", title: str = "Error budget", *, marks: Mapping[str, Any] | None = None) -> Plot:
    """Draw how the budget is used up.

    ``spent`` is the share of the budget that is gone (0 to 1, above 1 when overdrawn; NaN unknown) by time; ``marks``
    names moments, such as ``{"page": time}``.

    Raises ``MetricsError`` when nothing of it is known.
    """
    known = spent.dropna()
    if known.empty:
        raise MetricsError("no value of the budget is known: nothing to draw. Next: look at the counts it comes from")
    left = 100 * (1 - spent)
    figure, axes = _canvas()
    axes.step(left.index, left, where="post", color=BLUE)
    axes.fill_between(left.index, left.clip(upper=0), 0, step="post", color=RED, alpha=0.4)
    axes.axhline(0, color=RED, linewidth=1)
    axes.set_title(title, loc="left")
    axes.set(ylabel="budget left, %", ylim=(min(-5.0, float(left.min()) - 5), 105))
    for name, moment in (marks or {}).items():
        axes.axvline(moment, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(name, (moment, 103), fontsize=8, color=GREY, rotation=90, va="top", ha="right")
    _dates(axes)
    overdrawn = known[known > 1]
    words = f"{title}: {100 * (1 - known.iloc[-1]):.0f} % is left at the end"
    words += f"; overdrawn since {overdrawn.index[0]:%d %b %H:%M}." if len(overdrawn) else "; it was never overdrawn."
    unknown = float(spent.isna().mean())
    return Plot(figure, words + (f" Unknown for {100 * unknown:.0f} % of the time." if unknown else ""))


def lines(
    table: "pd.DataFrame", title: str, unit: str, *, limits: Mapping[str, float] | None = None, log: bool = False
) -> Plot:
    """Draw the columns of ``table`` by its index, with horizontal ``limits`` by name.

    Raises ``MetricsError`` when nothing of the table is known.
    """
    known = table.dropna(how="all")
    if known.empty:
        raise MetricsError(f"{title}: no value is known, nothing to draw")
    figure, axes = _canvas()
    for name in table:
        axes.plot(table.index, table[name], label=str(name), linewidth=1.2)
    for name, value in (limits or {}).items():
        axes.axhline(value, color=RED, linestyle="--", linewidth=1)
        axes.annotate(name, (0.995, value), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom")
    axes.set_title(title, loc="left")
    axes.set(ylabel=unit, yscale="log" if log else "linear")
    if len(table.columns) > 1:
        axes.legend(fontsize=8, frameon=False)
    _dates(axes)
    said = [
        f"{name} from {table[name].min():.3g} to {table[name].max():.3g}, at last {table[name].dropna().iloc[-1]:.3g}"
        for name in table
        if table[name].notna().any()
    ]
    return Plot(figure, f"{title} ({unit}): " + "; ".join(said) + ".")


def _canvas() -> "tuple[Figure, Axes]":
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 2.8))
        return figure, figure.subplots()


def _dates(axes: "Axes") -> None:
    from matplotlib import dates

    if isinstance(axes.xaxis.get_converter(), dates._SwitchableDateConverter):
        locator = dates.AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
