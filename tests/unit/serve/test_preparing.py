"""A team's text utility stands between a comment and the model, or the service does not start."""

import pytest

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.preparing import VARIABLE, prepared


def test_texts_are_cleaned_before_they_are_scored(artifact, tmp_path, monkeypatch):
    (tmp_path / "shouting.py").write_text("def clean(text):\n    return text.replace('zzz', 'subscribe')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "shouting")
    made = prepared(artifact)
    assert made.score("zzz to my channel") == artifact.score("subscribe to my channel")
    assert made.scorer.scores(["zzz", "hello"]) == artifact.scorer.scores(["subscribe", "hello"])
    assert made.sha256 == artifact.sha256


def test_without_a_utility_nothing_changes(artifact, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert prepared(artifact) is artifact


@pytest.mark.parametrize("content", ["import not_installed_anywhere", "def tidy(text): ...", "def clean(", None])
def test_a_utility_that_cannot_be_used_is_refused(artifact, tmp_path, monkeypatch, content):
    name = f"broken_{abs(hash(content))}"
    if content is not None:
        (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ServiceError, match=rf"{VARIABLE}={name} cannot be used.*Next: ship it"):
        prepared(artifact)
