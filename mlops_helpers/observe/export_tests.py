"""Unit tests for exported rules, as promtool runs them: every alert fires, not before it should, and resets.

Synthetic counters go into the rules; what should come out is worked out without them (see
:mod:`mlops_helpers.observe.outages`). Rules of different windows have different test files, because promtool evaluates
everything in a file equally often: mostly, once each short window. An alert over three days takes 30 evaluations, not
the 9,000 of once a minute; each costs some 2 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby
from math import ceil, floor, gcd, log2
from typing import Any

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, words
from mlops_helpers.observe.examples import series_of
from mlops_helpers.observe.export_rules import RUNBOOK, alerts
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.outages import Outage, outage_for
from mlops_helpers.observe.promql import duration, exportable, shortest
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.yaml_text import dump

__all__ = ["promtool_tests"]

_MOST_SAMPLES = 500_000
_STEADY = 20  # steps of a test without an outage


def promtool_tests(
    objective: Objective,
    rules: Sequence[BurnRule] = WORKBOOK,
    *,
    rule_file: str = "rules.yml",
    runbook_url: str = RUNBOOK,
) -> dict[str, str]:
    """Return test files (YAML) for ``promtool test rules``, each under the time between its evaluations (``5m``).

    ``rule_file`` is where the test files find the objective's rules, as
    :func:`~mlops_helpers.observe.export_rules.prometheus_rules` writes them with the same ``runbook_url``.

    Raises ``ObjectiveError`` when the rules cannot be exported, and when no outage or no series show them at work.
    """
    ((_, own),) = exportable([objective], rules)
    plan = [(rule, *outage_for(objective, own, rule)) for rule in own]
    finest = min((outage for _, outage, _ in plan), key=lambda outage: outage.step)
    tests: dict[float, list[dict[str, Any]]] = {}
    judge = _Judge(tuple(alerts(objective, own, runbook_url)))
    for rule, outage, moments in plan:
        into = tests.setdefault(outage.step, [])
        into.append(judge.test(f"{rule}: {', '.join(moments)}", outage, moments.values()))
        if rule.minimum_bad > 1 and not objective.slices:
            most = outage.bad_events(rule.long, moments["above"])
            few = replace(outage, events=outage.events * 0.5 * rule.minimum_bad / most)
            into.append(judge.test(f"{rule}: above, but of few events", few, [moments["above"]]))
    tests[finest.step] += judge.telemetry_tests(finest)
    return {
        words(step): dump({"rule_files": [rule_file], "evaluation_interval": duration(step), "tests": own_tests})
        for step, own_tests in sorted(tests.items())
    }


@dataclass(frozen=True)
class _Judge:
    """Writes tests: what is scraped, and which of an objective's alerts fire when."""

    alerts: tuple[dict[str, Any], ...]

    def test(self, name: str, outage: Outage, moments: Iterable[int]) -> dict[str, Any]:
        looks = []
        for steps in moments:
            firing = outage.firing(steps)
            if firing is not None:
                looks += self._looks(steps * outage.step, firing)
        return _test(name, outage, _scraped(outage), looks)
