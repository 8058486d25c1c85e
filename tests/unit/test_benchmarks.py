"""The runner of the benchmarks: every subject is in its table, and what is measured lands in one table for readers."""

import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks import __main__ as runner
from benchmarks import measure
from benchmarks.measure import Figure

SUBJECTS = runner.SUBJECTS


@pytest.fixture
def results(tmp_path, monkeypatch):
    path = tmp_path / "RESULTS.md"
    monkeypatch.setattr(measure, "RESULTS", path)
    return path


@pytest.mark.parametrize("name", SUBJECTS)
def test_subject_imports_and_has_what_the_runner_calls(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").figures)


def test_every_module_with_figures_is_a_subject():
    folder = Path(benchmarks.__file__).parent
    assert {path.stem for path in folder.glob("*.py") if "\ndef figures()" in path.read_text()} == set(SUBJECTS)


def test_unknown_subject_is_refused_with_the_list(capsys, results):
    assert runner.main(["realism", "marking"]) == 2
    refusal = capsys.readouterr().err
    assert "marking" in refusal
    assert all(name in refusal for name in SUBJECTS)
    assert not results.exists()


def test_figures_of_other_subjects_stay_with_the_time_of_their_run(results, monkeypatch):
    measure.store("drift", [Figure("delay", 2.0, "days")])
    earlier = next(line for line in results.read_text().splitlines() if "delay" in line)
    monkeypatch.setattr(
        "benchmarks.realism.figures", lambda: iter([Figure("accuracy | all", 95.0, "%", ">= 94 <= 98")])
    )
    assert runner.main(["realism"]) == 0
    rows = [[cell.strip() for cell in line.split(" | ")] for line in results.read_text().splitlines()]
    assert earlier.split() == next(line for line in results.read_text().splitlines() if "delay" in line).split()
    assert next(row for row in rows if "accuracy / all" in row)[3:6] == ["95 %", ">= 94 <= 98", "yes"]


def test_subject_that_fails_is_a_row_and_the_others_go_on(results, monkeypatch, capsys):
    def broken():
        yield Figure("measured before", 1.0)
        raise RuntimeError("no disk left")

    monkeypatch.setattr("benchmarks.realism.figures", broken)
    monkeypatch.setattr("benchmarks.drift.figures", lambda: iter([Figure("delay", None, "days", "<= 1", "no engine")]))
    assert runner.main(["realism", "drift"]) == 1
    table = results.read_text()
    assert "measured before" in table
    assert "RuntimeError: no disk left" in table
    assert "not here" in table
    assert "1 goals missed by realism, drift" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("goal", "holds"), [("<= 3", True), ("<= 2.9", False), (">= 2 <= 4", True), (">= 2 <= 2.5", False), ("", None)]
)
def test_goal_is_a_comparison_or_a_range(goal, holds):
    assert Figure("figure", 3.0, "", goal).holds is holds


def test_ratio_is_formed_within_rounds():
    figure = measure.ratio("time", [1.0, 10.0, 3.0], [2.0, 10.0, 12.0])
    assert figure.value == 0.5
    assert "0.25 to 1" in figure.conditions
