"""Every figure says the same in words, and none is drawn of what is not known."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe import plots

TIMES = pd.date_range("2026-01-01", periods=9, freq="D", tz="UTC")


def series(*values: float) -> pd.Series:
    return pd.Series(values, index=TIMES[: len(values)])


def test_a_notebook_shows_the_picture_and_the_words() -> None:
    plot = plots.burn_down(series(0.0, 0.5, 1.25), "Budget <of> comments", marks={"page": TIMES[1]})
    assert str(plot) == "Budget <of> comments: -25 % is left at the end; overdrawn since 03 Jan 00:00."
    assert plot.png().startswith(b"\x89PNG")
    shown = plot._repr_html_()
    assert shown.count("Budget &lt;of&gt; comments: -25 %") == 2, "as alternative text and below the picture"


def test_the_words_of_each_figure_are_those_of_its_numbers() -> None:
    assert str(plots.burn_down(series(0.0, 0.25))).endswith("75 % is left at the end; it was never overdrawn.")
    assert "Unknown for 50 %" in str(plots.burn_down(series(0.1, np.nan)))
    drawn = plots.lines(pd.DataFrame({"1h": series(1, 3, 2)}), "Burn rate", "x", limits={"page": 14.4})
    assert str(drawn) == "Burn rate (x): 1h from 1 to 3, at last 2."
    with pytest.raises(MetricsError):
        plots.burn_down(series(np.nan))
    with pytest.raises(MetricsError):
        plots.lines(pd.DataFrame({"a": series(np.nan)}), "t", "u")
