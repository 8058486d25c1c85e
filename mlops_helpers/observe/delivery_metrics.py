"""How well a team delivers: DORA's five measures, from the records of its releases.

Definitions: DORA, "DORA's software delivery performance metrics" (2024): change lead time, deployment frequency and
failed deployment recovery time tell the throughput; change fail rate and deployment rework rate the instability.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_helpers.errors import ObjectiveError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import pandas as pd

__all__ = ["COLUMNS", "DeliveryMetrics", "delivery_metrics"]

COLUMNS = {
    "committed_at": "when the (first) change was committed",
    "deployed_at": "when it served readers",
    "failed": "whether it made somebody step in: a rollback, a fix, a patch",
    "recovered_at": "when readers were served well again; missing while they are not, or when nothing failed",
    "rework": "whether it was unplanned: made because of an incident",
}


@dataclass(frozen=True)
class DeliveryMetrics:
    """The five; None where no release can tell.

    Times are medians, since a single forgotten change would drag a mean along. ``still_failing`` counts failed
    releases that nobody recovered from yet: no recovery time knows of them.
    """

    deployments: int
    change_lead_time: "timedelta | None"
    deployments_per_day: float
    failed_deployment_recovery_time: "timedelta | None"
    change_fail_rate: float | None
    deployment_rework_rate: float | None
    still_failing: int

    def __str__(self) -> str:
        def time(value: "timedelta | None") -> str:
            return "unknown" if value is None else f"{value.total_seconds() / 3600:.1f} h"

        def share(value: float | None) -> str:
            return "unknown" if value is None else f"{100 * value:.0f} %"

        return "\n".join(
            [
                f"change lead time                 {time(self.change_lead_time)}",
                f"deployment frequency             {self.deployments_per_day:.2f} a day",
                f"failed deployment recovery time  {time(self.failed_deployment_recovery_time)}"
                + (f" ({self.still_failing} not recovered)" if self.still_failing else ""),
                f"change fail rate                 {share(self.change_fail_rate)}",
                f"deployment rework rate           {share(self.deployment_rework_rate)}",
            ]
        )


def delivery_metrics(records: "pd.DataFrame", start: "datetime | str", end: "datetime | str") -> DeliveryMetrics:
    """Return the five measures of the releases deployed from ``start`` to before ``end`` (UTC unless they say).

    ``records`` has a row a release and the columns of ``COLUMNS``. The lead time is that of planned changes.

    Raises ``ObjectiveError`` for missing columns, unknown times, a release before its commit, a recovery before the
    release, a recovery of what never failed, or an empty stretch of time.
    """
    import pandas as pd

    missing = [name for name in COLUMNS if name not in records]
    if missing:
        raise ObjectiveError(f"the records lack {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
    begin, until = pd.to_datetime(start, utc=True), pd.to_datetime(end, utc=True)
    if not begin < until:
        raise ObjectiveError(f"from {begin} to {until} is no stretch of time; accepted: start before end")
    table = records.assign(
        **{
            name: pd.to_datetime(records[name], utc=True, format="ISO8601")
            for name in ("committed_at", "deployed_at", "recovered_at")
        }
    )
    _refuse(table, table["committed_at"].isna() | table["deployed_at"].isna(), "no time of commit or deployment")
    _refuse(table, table[["failed", "rework"]].isna().any(axis=1), "not said whether it failed, or was rework")
    _refuse(table, table["deployed_at"] < table["committed_at"], "deployed before it was committed")
    _refuse(table, table["recovered_at"] < table["deployed_at"], "recovered before it was deployed")
    _refuse(table, table["recovered_at"].notna() & ~table["failed"].astype(bool), "recovered, though it did not fail")

    table = table[(table["deployed_at"] >= begin) & (table["deployed_at"] < until)]
    failed, rework = table["failed"].astype(bool), table["rework"].astype(bool)
    lead = (table["deployed_at"] - table["committed_at"])[~rework]
    recovery = (table["recovered_at"] - table["deployed_at"])[failed].dropna()
    days = (until - begin) / pd.Timedelta(days=1)
    return DeliveryMetrics(
        deployments=len(table),
        change_lead_time=lead.median().to_pytimedelta() if len(lead) else None,
        deployments_per_day=len(table) / days,
        failed_deployment_recovery_time=recovery.median().to_pytimedelta() if len(recovery) else None,
        change_fail_rate=float(failed.mean()) if len(table) else None,
        deployment_rework_rate=float(rework.mean()) if len(table) else None,
        still_failing=int(failed.sum()) - len(recovery),
    )


def _refuse(table: "pd.DataFrame", wrong: "pd.Series", reason: str) -> None:
    if wrong.any():
        row = table[wrong].iloc[0].to_dict()
        raise ObjectiveError(f"{int(wrong.sum())} of {len(table)} records: {reason}; the first is {row}")
