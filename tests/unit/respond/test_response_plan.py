"""The plan for incidents: a whole one has no finding, and each hole is found."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from mlops_helpers.errors import ParameterError
from mlops_helpers.respond.response_plan import ROLES, read
from mlops_helpers.respond.response_plan_review import review

START, END = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 16, tzinfo=UTC)
TEXT = "Since {since}, {impact}. We are working on it. Next news: {next_update}."
PLAN: dict[str, Any] = {
    "service": "blog",
    "contacts": [
        {"name": "on-call A", "ways": ["telephone", "pager"], "roles": list(ROLES)},
        {"name": "on-call B", "ways": ["telephone", "pager"], "roles": list(ROLES)},
    ],
    "rota": [
        {"primary": "on-call A", "backup": "on-call B", "start": "2026-03-02T00:00Z", "end": "2026-03-09T00:00Z"},
        {"primary": "on-call B", "backup": "on-call A", "start": "2026-03-09T01:00+01:00", "end": "2026-03-16T00:00Z"},
    ],
    "problems": [
        {
            "name": "no verdicts",
            "severity": "page",
            "signal": "comments pending",
            "process": [],
            "runbook": "errors.ipynb",
            "recovery": "roll back the release",
            "recover_within": 30,
            "rehearsed": "2026-02-01",
        }
    ],
    "telemetry": {"comments pending": "dashboard blog, first panel"},
    "drafts": [{"moment": moment, "audience": "public", "text": TEXT} for moment in
               ("investigating", "identified", "mitigated", "resolved")],
}  # fmt: skip


@pytest.fixture
def runbooks(tmp_path):
    (tmp_path / "errors.ipynb").write_text("{}")
    return tmp_path


def changed(*path: Any, value: Any) -> dict[str, Any]:
    plan = copy.deepcopy(PLAN)
    *way, last = path
    part: Any = plan
    for step in way:
        part = part[step]
    part[last] = value
    return plan


def test_whole_plan_has_no_finding_and_knows_who_is_on_call(runbooks) -> None:
    plan = read(PLAN)
    assert review(plan, START, END, runbooks=runbooks) == []
    assert plan.on_call(START) == ("on-call A", "on-call B")
    assert plan.on_call(datetime(2026, 3, 9, tzinfo=UTC)) == ("on-call B", "on-call A")
    assert plan.on_call(END) is None


@pytest.mark.parametrize(
    ("plan", "section", "said"),
    [
        (changed("contacts", 0, "ways", value=["telephone", "telephone"]), "contacts", "reached in 1 way"),
        (changed("contacts", 0, "roles", value=[]), "contacts", "fewer than two can be incident commander"),
        (changed("contacts", 0, "name", value="on-call B"), "contacts", "named twice"),
        (changed("rota", 0, "primary", value="on-call C"), "rota", "on-call C is no contact"),
        (changed("rota", 0, "backup", value="on-call A"), "rota", "their own backup"),
        (changed("rota", 1, "start", value="2026-03-09T00:01+00:00"), "rota", "2026-03-09 00:00 to 2026-03-09 00:01"),
        (changed("rota", 0, "start", value="2026-03-02T00:01+00:00"), "rota", "2026-03-02 00:00 to 2026-03-02 00:01"),
        (changed("problems", value=[]), "problems", "none is anticipated"),
        (changed("problems", 0, "severity", value="mail"), "problems", "one of: page, ticket"),
        (changed("problems", 0, "signal", value="noise"), "telemetry", "nothing tells where to look at 'noise'"),
        (changed("problems", 0, "runbook", value=""), "problems", "no process"),
        (changed("problems", 0, "runbook", value="gone.ipynb"), "problems", "there is no runbook gone.ipynb"),
        (changed("problems", 0, "recovery", value=" "), "recovery", "no way, or no time"),
        (changed("problems", 0, "rehearsed", value="2025-08-01"), "recovery", "rehearsed on 2025-08-01"),
        (changed("problems", 0, "rehearsed", value="2026-03-03"), "recovery", "rehearsed on 2026-03-03"),
        (changed("drafts", 0, "audience", value="team"), "drafts", "nothing to tell the public when investigating"),
        (changed("drafts", 0, "moment", value="later"), "drafts", "no such moment"),
        (changed("drafts", 0, "text", value="Next news: {next_update}."), "drafts", "does not say what readers notice"),
        (changed("drafts", 0, "text", value="{impact}"), "drafts", "does not say when there is news"),
        (changed("drafts", 0, "text", value=TEXT + " Filter at 10.0.0.7."), "drafts", '"10.0.0.7" is of no use'),
        (changed("drafts", 0, "text", value=TEXT * 20), "drafts", "at most 600"),
    ],
)
def test_hole_in_a_plan_is_found(plan, section, said, runbooks) -> None:
    found = review(read(plan), START, END, runbooks=runbooks)
    assert any(one.section == section and said in str(one) for one in found), found


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({}, "plan: plan has"),
        (changed("contacts", 0, value={"name": "x"}), "contacts, entry 1 has"),
        (changed("contacts", 0, "ways", value="telephone"), "a text, where a list is needed"),
        (changed("rota", 0, "start", value="2026-03-02T00:00"), "no offset to UTC"),
        (changed("problems", 0, "recover_within", value="soon"), "recover_within is 'soon'"),
        (changed("problems", 0, "rehearsed", value=None), "rehearsed is None"),
    ],
)
def test_data_of_another_form_are_refused_with_the_place(plan, said) -> None:
    with pytest.raises(ParameterError, match=said):
        read(plan)
