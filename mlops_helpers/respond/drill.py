"""A drill: an incident that really happens, somebody who responds, a journal, and a score.

The clock of it: inject -> SLI breach -> alert -> acknowledged -> diagnosed -> mitigated -> resolved. A drill is judged
by what readers saw and by whether nothing was lost. If steady state does not hold before, readers do not meet the
fault, or it fails while the machine is too busy for a byte to be written, it is void, and says so.

A replay has the same faults, with a fix on and nobody who acts. It says ``prevented`` when the fix acted and no reader
noticed, else ``refuted``, and why.
"""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlops_helpers.errors import DrillError, GateRefused
from mlops_helpers.observe.webhook import Page
from mlops_helpers.respond import judge, responders
from mlops_helpers.respond.faults import injected
from mlops_helpers.respond.guards import switched_on
from mlops_helpers.respond.journal import Journal
from mlops_helpers.respond.operator import Operator
from mlops_helpers.respond.scenario import Fix, Responder, Scenario
from mlops_helpers.respond.score import POINTS, Facts, Part, Result, score
from mlops_helpers.respond.stage import Stage
from mlops_helpers.respond.steady import LOOK_SECONDS, steady
from mlops_helpers.workspace import workspace, writable_folder

__all__ = ["ROLES", "TIME_LAPSE", "Drill", "Result", "run"]

TIME_LAPSE = 360.0  # an hour in ten seconds
ROLES = {"commander": "commander", "operations": "operations", "communications": "communications"}
SUSTAINED_SECONDS, STALLED_SECONDS, LOAD = 3.0, 1.5, 2.0
_VISIBLE_SECONDS, _CALM_SECONDS = 12.0, 6.0
SHOWS_SECONDS = 4.0  # after an action, until readers notice it


class Drill:
    """A drill under way. ``with Drill(scenario) as drill`` starts it and lets the fault happen; respond by
    ``drill.hands``; :meth:`close` ends it and judges. However it ends, faults are put back and nothing is left.

    ``fix`` names a fix of the scenario, whose guards stand from the start: a replay. ``roles`` says who is what.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int = 0,
        folder: Path | None = None,
        time_lapse: float = TIME_LAPSE,
        roles: Mapping[str, str] = ROLES,
        fix: str = "",
    ) -> None:
        if fix and fix not in scenario.fixes:
            accepted = ", ".join(scenario.fixes) or "none"
            raise DrillError(f"{scenario.id} has no fix {fix!r}; accepted: {accepted}")
        if set(roles) != set(ROLES):
            raise DrillError(f"roles are {', '.join(roles)}; accepted: {', '.join(ROLES)}, each with a name")
        self.scenario, self.seed = scenario, seed
        self._fix: Fix | None = scenario.fixes[fix] if fix else None
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"  # an id would give a blind one away
        self.folder = writable_folder(folder, "folder=FOLDER") if folder else workspace("drills", name)
        if any(self.folder.iterdir()):
            raise DrillError(f"{self.folder} is not empty; accepted: a new folder. Nothing in it was changed")
        self.journal = Journal(self.folder / "journal.jsonl")
        self._stage = Stage(self.folder, seed=seed, time_lapse=time_lapse, notify=self._paged)
        self._ending, self._faults = ExitStack(), ExitStack()
        self._began, self._void, self._hinted = 0.0, "", 0
        self._result: Result | None = None
        self.hands = Operator(self._stage, self.journal, list(scenario.causes), by=roles["operations"])
        about = {"story": scenario.story, "area": scenario.area, "difficulty": scenario.difficulty}
        facts: dict[str, Any] = {"scenario": scenario.id, "title": scenario.title, **about, "seed": seed}
        self.journal.note("opened", **facts, time_lapse=time_lapse, roles=dict(roles), fix=fix)

    @property
    def void(self) -> str:
        """Why the drill says nothing about anybody, empty if it does."""
        return self._void

    def __enter__(self) -> Self:
        with ExitStack() as ending:
            ending.enter_context(self._stage)
            guards = self._fix.guards if self._fix else ()
            self._report = ending.enter_context(switched_on(self._stage, self.journal.note, guards))
            ending.enter_context(self._faults)
            self._stage.come()
            if not self._steady("before"):
                self._void = "steady state does not hold before the fault"
            else:
                self._inject()
            self._ending = ending.pop_all()
        return self

    def _inject(self) -> None:
        scenario = self.scenario
        self.hands.since = time.time()
        for one, (name, arguments) in zip(scenario.faults, scenario.fault_names, strict=True):
            tried, refused = time.time(), ""
            self._faults.callback(self.journal.note, "reverted", fault=name)
            try:
                self._faults.enter_context(injected(self._stage, one))
            except GateRefused as error:
                refused = str(error)
            at = tried if self._fix else None  # what a guard does comes after what it is done about
            self.journal.note("injected", at=at, fault=name, arguments=arguments, refused=refused)
        # a release takes a second to start, and nobody meets it before; with a fix, every second counts
        self._began = self.hands.since if self._fix else time.time()
        if scenario.breach and not self._fix:
            limit = self._began + _VISIBLE_SECONDS
            while not (found := self._breaches(time.time() - 0.3)) and time.time() < limit:
                time.sleep(LOOK_SECONDS)
            if not found:
                self._void = f"readers did not meet the fault within {_VISIBLE_SECONDS:g} s"
            for name in found:
                self.journal.note("visible", sli=name, at=found[name])

    def _paged(self, pages: list[Page]) -> None:
        for page in pages:
            about: dict[str, Any] = {
                "objective": page.labels.get("slo", ""),
                "severity": page.labels.get("severity", ""),
            }
            self.journal.note("alert", status=page.status, **about, summary=page.annotations.get("summary", ""))

    def _breaches(self, end: float) -> dict[str, float]:
        return judge.breaches(self._stage.frame(), self.scenario.steady_state, self._began, end)

    def _steady(self, moment: str) -> bool:
        return steady(self._stage, self.scenario.steady_state, self.journal, moment)

    def hint(self) -> str:
        """Return the next hint; it costs points. Raises ``DrillError`` when there is none left."""
        hints = self.scenario.hints
        if self._hinted == len(hints):
            raise DrillError(f"{self.scenario.id} has no further hint; there were {len(hints)}")
        text, cost = hints[self._hinted]
        self._hinted += 1
        self.journal.note("hint", text=text, cost=cost)
        return text

    def close(self) -> Result:
        """Wait for the mitigation, or until its time is over; put faults back, judge, end everything; safe twice."""
        if self._result is None:
            try:
                self._result = self._closed()
            finally:
                self._ending.close()
        return self._result

    def _closed(self) -> Result:
        if self._void:
            return self._end("void", self._void, [], {}, 0)
        scenario = self.scenario
        # whoever acted late, as people do, is given the time in which it would show
        moments = [self._began + scenario.seconds, *(one["at"] + SHOWS_SECONDS for one in self.journal.of("acted"))]
        calm = max(time.time(), self._began + _CALM_SECONDS)
        mitigated = None
        while True:
            now = self._stage.settled()
            since = max([self._began, *(one["at"] for one in self.journal.of("visible"))])
            if scenario.breach and not self._fix:
                mitigated = judge.mitigated_at(
                    self._stage.frame(), scenario.steady_state, since, now, SUSTAINED_SECONDS
                )
                if mitigated is not None or now > max(moments) + SUSTAINED_SECONDS:
                    break
            elif now > calm + judge.WINDOW:
                break
            time.sleep(LOOK_SECONDS)
        breached = self._breaches(now)
        bad = judge.bad_between(self._stage.frame(), self._began, now)
        blind = self._stage.watch.unknown()
        total = judge.shares(self._stage.frame(), self._began, now)
        for name, at in breached.items():
            self.journal.note("breached", sli=name, at=at)
        if mitigated is not None:
            self.journal.note("mitigated", sli=scenario.breach, at=mitigated)
        self._report(self.hands.since)
        self._faults.close()
        steady = self._steady("after")
        expected = "" if self._fix else scenario.breach
        facts = Facts(
            began=self._began,
            mitigated=mitigated,
            allowed=scenario.seconds,
            breached=breached,
            expected=expected,
            bad=bad[expected or "availability"],
            total=total[expected or "availability"].total,
            lost=self._stage.lost(),
            blind=blind,
            steady=steady,
            cause=scenario.cause,
            records=tuple(self.journal.records),
            replay=self._fix is not None,
        )
        passed, parts = score(facts)
        stalled = self._stage.control.stalled(self._began, now)
        if not passed and stalled > STALLED_SECONDS:
            busy = f"this machine was too busy: a write of one byte was overdue for {stalled:.1f} s in all"
            return self._end("void", busy, [], bad, facts.lost, breached=bool(breached))
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        if self._fix and breached and load > LOAD:  # what restarts something would need longer than it does
            busy = f"this machine was too busy: {load:.1f} processes a processor"
            return self._end("void", busy, [], bad, facts.lost, breached=True)
        reason = "" if passed else parts[0].reason
        if self._fix:
            if passed and not any(one["at"] >= self.hands.since for one in self.journal.of("guarded")):
                reason = f"{self._fix.name} did nothing"
            outcome = "refuted" if reason else "prevented"
        else:
            outcome = "passed" if passed else "failed"
        return self._end(outcome, reason, parts, bad, facts.lost, breached=bool(breached))

    def _end(
        self, outcome: str, reason: str, parts: list[Part], bad: Mapping[str, int], lost: int, *, breached: bool = False
    ) -> Result:
        points = max(0.0, round(sum(part.points for part in parts), 1))
        told: dict[str, Any] = {
            "cause": self.scenario.cause,
            "fix": self.scenario.fix,
            "points": points,
            "of": sum(POINTS.values()),
        }
        shown = [vars(part) for part in parts]
        self._faults.close()
        self.journal.note("closed", outcome=outcome, reason=reason, **told, parts=shown, spent=dict(bad), lost=lost)
        began = self.journal.records[0]["at"]
        journal = tuple(sorted(self.journal.records, key=lambda record: float(record["at"])))
        return Result(outcome, points, tuple(parts), reason, breached, time.time() - began, self.folder, journal)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.close()


def run(scenario: Scenario, responder: Responder | None = None, **options: Any) -> Result:
    """Run a drill headlessly, with a ``responder``.

    None: the scenario's first reference solution or, in a replay (``fix``), nobody, as there should be nothing to do.

    ``options`` are those of :class:`Drill`. Raises as it does.
    """
    responder = responder or (responders.NOTHING if options.get("fix") else scenario.solutions[0])
    with Drill(scenario, **options) as drill:
        if not drill.void:
            responders.respond(responder, drill.hands, page=bool(scenario.breach))
        return drill.close()
