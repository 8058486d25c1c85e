"""OpenSLO v1 files, our own and others', as objectives and burn-rate rules."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from mlops_helpers.errors import MetricsError, ObjectiveError
from mlops_helpers.observe.burnrate import BurnRule
from mlops_helpers.observe.objectives import Indicator, Objective, TimeSlices
from mlops_helpers.observe.openslo_model import (
    AlertPolicy,
    Document,
    Metadata,
    Metric,
    RatioMetric,
    Sli,
    SliSpec,
    SloObjective,
    SloSpec,
    read,
)
from mlops_helpers.observe.selector import Selector

__all__ = ["from_openslo"]

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "Q": 7_776_000, "Y": 31_536_000}
_FORMS = [
    re.compile(form, re.DOTALL)
    for form in (
        r"\s*sum\s*\(\s*rate\s*\((.*)\[[^]]*\]\s*\)\s*\)\s*",
        r"\s*sum\s*\(\s*increase\s*\((.*)\[[^]]*\]\s*\)\s*\)\s*",
        r"\s*sum\s*\((.*)\)\s*",
        r"(.*)",
    )
]
"""What a query may be: the first of a counter's growth a second, all of its events."""
_MOST_QUERY = 5000  # characters
_DURATION = re.compile(r"([0-9]{1,9})([mhdwMQY])")
_Index = Mapping[tuple[str, str], Document]


def from_openslo(text: str) -> tuple[list[Objective], dict[str, tuple[BurnRule, ...]]]:
    """Return the objectives of an OpenSLO v1 file, and each one's burn-rate rules by its name.

    An SLO with several targets becomes several objectives. An indicator that does not say its kind is a latency when it
    counts a histogram's bucket, else an availability. A month has 30 days, a quarter 90, a year 365. A condition
    without ``alertAfter`` has a short window of a twelfth of its long one, as the workbook has it.

    Raises ``ObjectiveError`` for text that is not OpenSLO v1, for references to what is not in it, and for what is not
    expressible: calendar periods, composite objectives, ratios made elsewhere, sources other than Prometheus, queries
    that are more than the sum of a counter, other severities than page and ticket.
    """
    documents = read(text)
    index = {(document.kind, document.metadata.name): document for document in documents}
    slos = [document for document in documents if document.kind == "SLO"]
    if not slos or len(index) < len(documents):
        raise ObjectiveError(
            f"{len(slos)} documents of kind SLO, {len(documents) - len(index)} repeated names; accepted: OpenSLO v1 "
            "with one SLO or more, and each name of a kind once"
        )
    objectives: list[Objective] = []
    rules: dict[str, tuple[BurnRule, ...]] = {}
    for slo in slos:
        try:
            for objective in _objectives(slo.metadata, slo.spec, index):
                objectives.append(objective)
                rules[objective.name] = tuple(_rule(policy, objective, index) for policy in slo.spec.alert_policies)
        except (ObjectiveError, MetricsError) as error:
            raise ObjectiveError(f"SLO {slo.metadata.name}: {error}") from error
    if len(rules) < len(objectives):
        raise ObjectiveError("two objectives have the same name; those of an SLO with several targets are numbered")
    return objectives, rules


def _objectives(metadata: Metadata, spec: SloSpec, index: _Index) -> Iterator[Objective]:
    if any(target.indicator is not None or target.indicator_ref is not None for target in spec.objectives):
        raise ObjectiveError("a composite objective; accepted: one indicator")
    if (spec.indicator is None) == (spec.indicator_ref is None):
        raise ObjectiveError("both or neither of indicator and indicatorRef; accepted: one of the two")
    sli = spec.indicator
    if sli is None:
        found = _found(index, "SLI", spec.indicator_ref)
        sli = Sli(metadata=found.metadata, spec=found.spec)
    if not spec.time_window or spec.time_window[0].calendar is not None or not spec.time_window[0].is_rolling:
        raise ObjectiveError("no rolling timeWindow; accepted: a duration with isRolling: true")
    if spec.budgeting_method not in ("Occurrences", "Timeslices"):
        raise ObjectiveError(f"budgetingMethod is {spec.budgeting_method!r}; accepted: Occurrences, Timeslices")
    labels = {label: ",".join(text) if isinstance(text, list) else text for label, text in metadata.labels.items()}
    for number, target in enumerate(spec.objectives, 1):
        yield Objective(
            name=metadata.name if len(spec.objectives) == 1 else f"{metadata.name}-{number}",
            target=_target(target),
            indicator=_indicator(sli, target, spec, index),
            period=_seconds(spec.time_window[0].duration),
            slices=_slices(target) if spec.budgeting_method == "Timeslices" else None,
            service=spec.service,
            description=spec.description,
            labels=labels,
        )


def _found(index: _Index, kind: str, name: str | None) -> Document:
    if name is None or (kind, name) not in index:
        known = ", ".join(other for of, other in index if of == kind)
        raise ObjectiveError(f"{kind} {name!r} is not in this text; there are: {known or 'none'}")
    return index[kind, name]


def _target(target: SloObjective) -> float:
    if target.target_percent is not None and target.target is None:
        return float(Decimal(repr(target.target_percent)) / 100)
    if target.target is None or target.target_percent is not None:
        raise ObjectiveError("both or neither of target and targetPercent; accepted: one of the two")
    return target.target


def _slices(target: SloObjective) -> TimeSlices:
    window = target.time_slice_window
    if window is None or target.time_slice_target is None:
        raise ObjectiveError("Timeslices without timeSliceWindow and timeSliceTarget; accepted: both")
    return TimeSlices(_seconds(window) if isinstance(window, str) else 60 * window, target.time_slice_target)


def _seconds(duration: str) -> float:
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ObjectiveError(f"duration is {duration!r}; accepted: a number and one of {', '.join(_SECONDS)}, as 30d")
    return float(int(found[1]) * _SECONDS[found[2]])


def _indicator(sli: Sli, target: SloObjective, spec: SloSpec, index: _Index) -> Indicator:
    measured: SliSpec = sli.spec
    ratio, threshold = measured.ratio_metric, measured.threshold_metric
    if threshold is not None and ratio is None:
        if target.op != "gte" or target.value is None or spec.budgeting_method != "Timeslices":
            raise ObjectiveError(
                "a threshold metric; accepted: Timeslices with op: gte (at least so many events a second)"
            )
        return Indicator("throughput", _selector(threshold, index, rate=True), minimum=target.value)
    if ratio is None or threshold is not None or ratio.total is None or ratio.raw is not None:
        raise ObjectiveError("no ratioMetric of good or bad and total events; accepted: that, or a thresholdMetric")
    return _of_ratio(ratio, sli.metadata.annotations.get("indicator-kind"), index)


def _of_ratio(ratio: RatioMetric, kind: str | None, index: _Index) -> Indicator:
    total, good, bad = (_selector(metric, index) if metric else None for metric in (ratio.total, ratio.good, ratio.bad))
    assert total is not None
    bucket = good is not None and any(matcher.label == "le" for matcher in good.matchers)
    return Indicator(kind or ("latency" if bucket else "availability"), total, good, bad)


def _selector(metric: Metric, index: _Index, *, rate: bool = False) -> Selector:
    """Return the counter that a query sums; with ``rate``, the query must be its growth a second."""
    source = metric.metric_source
    kind = source.type
    if kind is None and source.metric_source_ref is not None:
        connection = _found(index, "DataSource", source.metric_source_ref).spec
        kind = connection.get("type") if isinstance(connection, dict) else None
    query = source.spec.get("query")
    if str(kind).lower() != "prometheus" or not isinstance(query, str) or len(query) > _MOST_QUERY:
        raise ObjectiveError(
            f"a metric of {kind!r} with query {str(query)[:80]!r}; accepted: type Prometheus, with at most "
            f"{_MOST_QUERY} characters of PromQL"
        )
    inner = next(
        (found[1] for found in (form.fullmatch(query) for form in (_FORMS[:1] if rate else _FORMS)) if found), ""
    )
    try:
        return Selector.parse(inner)
    except MetricsError as error:
        accepted = "sum(rate(counter[5m]))" if rate else "a counter, its sum, or the sum of its rate or increase"
        raise ObjectiveError(f"the query {query!r} is not expressible; accepted: {accepted}") from error


def _rule(policy: AlertPolicy | str, objective: Objective, index: _Index) -> BurnRule:
    if isinstance(policy, str):  # the specification has objects here, its schema has names
        policy = AlertPolicy(alert_policy_ref=policy)
    spec = policy.spec or _found(index, "AlertPolicy", policy.alert_policy_ref).spec
    condition = spec.conditions[0]
    metadata, alert = condition.metadata, condition.spec
    if alert is None:
        found = _found(index, "AlertCondition", condition.condition_ref)
        metadata, alert = found.metadata, found.spec
    burn = alert.condition
    if burn.op not in (None, "gt", "gte"):
        raise ObjectiveError(f"an alert for a burn rate {burn.op} {burn.threshold}; accepted: gt")
    long = _seconds(burn.lookback_window)
    annotations = metadata.annotations if metadata else {}
    after = _seconds(burn.alert_after) if burn.alert_after else 0.0
    exact = Decimal(repr(burn.threshold)) * Decimal(repr(long)) / Decimal(repr(objective.period))
    rule = BurnRule(
        alert.severity,
        _annotated(annotations, "budget-spent", float(exact)),
        long,
        _annotated(annotations, "short-window-seconds", after or long / 12),
        objective.period,
        _annotated(annotations, "minimum-bad", 1.0),
    )
    if "budget-spent" in annotations and rule.burn_rate != burn.threshold:
        raise ObjectiveError(
            f"threshold {burn.threshold} is not the burn rate {rule.burn_rate} of the annotation budget-spent. Next: "
            "remove the annotation if the threshold is right"
        )
    return rule


def _annotated(annotations: Mapping[str, str], name: str, otherwise: float) -> float:
    try:
        return float(annotations.get(name, otherwise))
    except ValueError:
        raise ObjectiveError(f"annotation {name} is {annotations[name]!r}; accepted: a number") from None
