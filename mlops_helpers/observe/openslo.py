"""Objectives and burn-rate rules as OpenSLO v1, the vendor-neutral form, and back.

The long window of a rule is ``lookbackWindow``, the short one ``alertAfter``: both say that an outage has to go on,
though for OpenSLO that is "above the threshold all the time". What has no field is an annotation, which others ignore:
``indicator-kind`` on the indicator; on an alert's condition ``budget-spent``, ``minimum-bad`` and, when it is not of
whole minutes, ``short-window-seconds``.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, words
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.openslo_model import (
    AlertCondition,
    AlertConditionSpec,
    AlertPolicy,
    AlertPolicySpec,
    BurnRateCondition,
    Document,
    Metadata,
    Metric,
    MetricSource,
    RatioMetric,
    Sli,
    SliSpec,
    SloObjective,
    SloSpec,
    TimeWindow,
    write,
)
from mlops_helpers.observe.openslo_reader import from_openslo
from mlops_helpers.observe.promql import Rules, exportable

__all__ = ["from_openslo", "to_openslo"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_MOST_DESCRIPTION = 1050


def to_openslo(objectives: Iterable[Objective], rules: Rules = WORKBOOK) -> str:
    """Return an OpenSLO v1 file (YAML): services, objectives with their alert policies, and whom to tell.

    Raises ``ObjectiveError`` for what OpenSLO cannot say: periods, slices and long windows that are not of whole
    minutes (as with a ``time_lapse``), services that are no DNS label, labels that it does not accept, descriptions
    that are too long. And as :func:`~mlops_helpers.observe.promql.exportable` does.
    """
    pairs = exportable(objectives, rules)
    services = dict.fromkeys(objective.service for objective, _ in pairs)
    severities = dict.fromkeys(rule.severity for _, own in pairs for rule in own)
    documents = [_document("Service", Metadata(name=service), {}) for service in services]
    documents += [_slo(objective, own) for objective, own in pairs]
    return write(
        documents + [_document("AlertNotificationTarget", Metadata(name=name), {"target": name}) for name in severities]
    )


def _document(kind: str, metadata: Metadata, spec: Any) -> Document:
    if not _NAME.fullmatch(metadata.name):
        raise ObjectiveError(f"{kind.lower()} {metadata.name!r}: not a name for OpenSLO; accepted: a-z, 0-9 and '-'")
    return Document(api_version="openslo/v1", kind=kind, metadata=metadata, spec=spec)


def _slo(objective: Objective, rules: Sequence[BurnRule]) -> Document:
    for label in objective.labels:
        if not _LABEL.fullmatch(label):
            raise ObjectiveError(
                f"{objective.name} has the label {label!r}; accepted: letters, digits and '_', with no '_' at the ends"
            )
    if len(objective.description) > _MOST_DESCRIPTION:
        raise ObjectiveError(
            f"the description of {objective.name} has {len(objective.description)} characters; accepted: at most "
            f"{_MOST_DESCRIPTION}"
        )
    indicator, slices = objective.indicator, objective.slices
    target = SloObjective(target=objective.target)
    if slices:
        target.time_slice_target, target.time_slice_window = slices.target, _shorthand(slices.seconds)
    if slices and indicator.minimum is not None:
        target.op, target.value = "gte", indicator.minimum
        measured = SliSpec(threshold_metric=_metric(f"sum(rate({indicator.total}[{words(slices.seconds)}]))"))
    else:
        parts = {"good": indicator.good, "bad": indicator.bad, "total": indicator.total}
        metrics = {part: _metric(f"sum({selector})") for part, selector in parts.items() if selector}
        measured = SliSpec(ratio_metric=RatioMetric(counter=True, **metrics))
    kind = Metadata(name=objective.name, annotations={"indicator-kind": indicator.kind})
    spec = SloSpec(
        description=objective.description,
        service=objective.service,
        indicator=Sli(metadata=kind, spec=measured),
        time_window=[TimeWindow(duration=_shorthand(objective.period), is_rolling=True)],
        budgeting_method="Timeslices" if slices else "Occurrences",
        objectives=[target],
        alert_policies=[_policy(rule) for rule in rules],
    )
    return _document("SLO", Metadata(name=objective.name, labels=dict(objective.labels)), spec)


def _metric(query: str) -> Metric:
    return Metric(metric_source=MetricSource(type="Prometheus", spec={"query": query}))


def _policy(rule: BurnRule) -> AlertPolicy:
    annotations = {"budget-spent": _digits(rule.spent)}
    if rule.minimum_bad != 1:
        annotations["minimum-bad"] = _digits(rule.minimum_bad)
    short = rule.short
    if short % 60:
        annotations["short-window-seconds"] = _digits(short)
        short = max(60, 60 * round(short / 60))  # for others
    condition = BurnRateCondition(
        kind="burnrate",
        op="gt",
        threshold=rule.burn_rate,
        lookback_window=_shorthand(rule.long),
        alert_after=_shorthand(short),
    )
    name = f"{rule.severity}-{words(rule.long)}-{words(rule.short)}"
    spec = AlertPolicySpec(
        alert_when_no_data=True,
        alert_when_breaching=True,
        alert_when_resolved=True,
        conditions=[
            AlertCondition(
                kind="AlertCondition",
                metadata=Metadata(name=name, annotations=annotations),
                spec=AlertConditionSpec(severity=rule.severity, condition=condition),
            )
        ],
        notification_targets=[{"targetRef": rule.severity}],
    )
    return AlertPolicy(kind="AlertPolicy", metadata=Metadata(name=name), spec=spec)


def _shorthand(seconds: float) -> str:
    minutes = Decimal(repr(float(seconds))) / 60
    if minutes < 1 or minutes % 1:
        raise ObjectiveError(
            f"OpenSLO cannot say {words(seconds)}; accepted: whole minutes. Next: write the objective before "
            "in_time_lapse()"
        )
    unit, size = next((unit, size) for unit, size in (("d", 1440), ("h", 60), ("m", 1)) if minutes % size == 0)
    return f"{minutes / size:.0f}{unit}"


def _digits(number: float) -> str:
    return f"{Decimal(repr(float(number))):f}"
