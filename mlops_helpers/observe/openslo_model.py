"""The part of OpenSLO v1 that can be read and written here, as pydantic models, and documents of it as text.

Fields have OpenSLO's names in Python's spelling (``timeWindow`` is ``time_window``); https://github.com/OpenSLO/OpenSLO
says what they mean. Fields that are not listed are ignored.
"""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.yaml_text import dump, load

__all__ = [
    "AlertCondition",
    "AlertConditionSpec",
    "AlertPolicy",
    "AlertPolicySpec",
    "BurnRateCondition",
    "Document",
    "Metadata",
    "Metric",
    "MetricSource",
    "RatioMetric",
    "Sli",
    "SliSpec",
    "SloObjective",
    "SloSpec",
    "TimeWindow",
    "read",
    "write",
]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False)


class Metadata(_Part):
    """Name, labels and annotations of an object."""

    name: str
    labels: dict[str, str | list[str]] = {}
    annotations: dict[str, str] = {}


class MetricSource(_Part):
    """Where a metric comes from; of Prometheus, ``spec["query"]`` is PromQL."""

    type: str | None = None
    metric_source_ref: str | None = None
    spec: dict[str, Any]


class Metric(_Part):
    """A metric."""

    metric_source: MetricSource


class RatioMetric(_Part):
    """Good or bad events of all events; ``raw`` would be a ratio made elsewhere."""

    counter: bool = False
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw: Metric | None = None


class SliSpec(_Part):
    """What is measured."""

    threshold_metric: Metric | None = None
    ratio_metric: RatioMetric | None = None


class Sli(_Part):
    """An indicator within an objective."""

    metadata: Metadata
    spec: SliSpec


class TimeWindow(_Part):
    """The period of an objective."""

    duration: str
    is_rolling: bool = False
    calendar: dict[str, Any] | None = None


class SloObjective(_Part):
    """The target of an objective; with an indicator of its own it is part of a composite one."""

    op: str | None = None
    value: float | None = None
    target: float | None = None
    target_percent: float | None = None
    time_slice_target: float | None = None
    time_slice_window: str | float | None = None
    indicator: dict[str, Any] | None = None
    indicator_ref: str | None = None


class BurnRateCondition(_Part):
    """Burn rate above ``threshold`` over ``lookback_window``, for ``alert_after``."""

    kind: Literal["burnrate"]
    op: str | None = None
    threshold: float
    lookback_window: str
    alert_after: str | None = None


class AlertConditionSpec(_Part):
    """When to alert."""

    severity: str
    condition: BurnRateCondition


class AlertCondition(_Part):
    """When to alert, written out (``spec``) or by name (``condition_ref``)."""

    kind: Literal["AlertCondition"] | None = None
    metadata: Metadata | None = None
    spec: AlertConditionSpec | None = None
    condition_ref: str | None = None


class AlertPolicySpec(_Part):
    """Conditions (one, says OpenSLO), and whom to tell."""

    alert_when_no_data: bool = False
    alert_when_breaching: bool = False
    alert_when_resolved: bool = False
    conditions: list[AlertCondition] = Field(min_length=1, max_length=1)
    notification_targets: list[dict[str, Any]] = []


class AlertPolicy(_Part):
    """Alerts of an objective, written out (``spec``) or by name (``alert_policy_ref``)."""

    kind: Literal["AlertPolicy"] | None = None
    metadata: Metadata | None = None
    spec: AlertPolicySpec | None = None
    alert_policy_ref: str | None = None


class SloSpec(_Part):
    """An objective."""

    description: str = ""
    service: str
    indicator: Sli | None = None
    indicator_ref: str | None = None
    time_window: list[TimeWindow] = Field(default=[], max_length=1)
    budgeting_method: str
    objectives: list[SloObjective] = Field(min_length=1)
    alert_policies: list[AlertPolicy | str] = []


_SPECS: dict[str, type[_Part] | None] = {
    "SLO": SloSpec,
    "SLI": SliSpec,
    "AlertPolicy": AlertPolicySpec,
    "AlertCondition": AlertConditionSpec,
    "AlertNotificationTarget": None,
    "DataSource": None,
    "Service": None,
}


class Document(_Part):
    """An object: its kind, its metadata, and a ``spec`` as that kind has it (a ``dict`` where it is not looked at)."""

    api_version: Literal["openslo/v1"]
    kind: str
    metadata: Metadata
    spec: Any


def read(text: str) -> list[Document]:
    """Return the documents of an OpenSLO file.

    Raises ``ObjectiveError`` saying in which document what is wrong.
    """
    parsed = load(text)
    found = [one for document in parsed for one in (document if isinstance(document, list) else [document])]
    return [_document(number, one) for number, one in enumerate(found, 1)]


def _document(number: int, found: Any) -> Document:
    where = f"document {number}"
    try:
        document = Document.model_validate(found)
        where += f" ({document.kind} {document.metadata.name})"
        if document.kind not in _SPECS:
            raise ObjectiveError(f"{where}: this kind is unknown; accepted: {', '.join(_SPECS)}")
        spec = _SPECS[document.kind]
        return document.model_copy(update={"spec": spec.model_validate(document.spec)}) if spec else document
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']} (found {str(each['input'])[:60]!r})"
            for each in error.errors(include_url=False)[:3]
        ]
        raise ObjectiveError(f"{where} is not as OpenSLO v1 has it: {'; '.join(wrong)}") from None


def write(documents: Iterable[Document]) -> str:
    """Return an OpenSLO file (YAML)."""
    return dump(*(document.model_dump(by_alias=True, exclude_defaults=True) for document in documents))
