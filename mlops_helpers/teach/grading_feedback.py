"""The page that a student gets back: self-contained, without a script, and with every text of the student's escaped."""

import functools
from itertools import groupby
from typing import TYPE_CHECKING

from mlops_helpers.teach.grading_class import Marked

if TYPE_CHECKING:
    import jinja2

__all__ = ["AT_FAULT", "LONGEST_TEXT", "feedback_page"]

#: What students read of a check that is at fault; its own message, which may show its source, is for the instructor.
AT_FAULT = "The check itself went wrong, not your work. Your instructor sees this, too."

#: Characters of one message that the page shows.
LONGEST_TEXT = 4_000

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}: {{ result.student }}</title>
<style>
:root { color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --passed: #116329; --failed: #a40e26; --note: #7d4e00; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6edf3; --paper: #0d1117; --soft: #9da7b3; --line: #30363d; --panel: #161b22;
  --passed: #56d364; --failed: #ff7b72; --note: #e3b341; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 52rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 0; font-size: 1.15rem; } p { margin: .4rem 0; }
.soft { color: var(--soft); } .score { font-size: 2.2rem; font-weight: 700; margin: 1rem 0 0; }
section { border: 1px solid var(--line); border-radius: .5rem; margin-top: 1.25rem; padding: 1rem; }
header.question { display: flex; gap: 1rem; justify-content: space-between; }
progress { width: 100%; height: .8rem; accent-color: var(--passed); }
ul { list-style: none; margin: .5rem 0 0; padding: 0; }
li { border-top: 1px solid var(--line); padding: .6rem 0; } li p { white-space: pre-wrap; }
.mark { font-weight: 700; } .passed { color: var(--passed); } .failed { color: var(--failed); }
.error, .skipped, .note { color: var(--note); }
.hint { background: var(--panel); border-left: .25rem solid var(--note); padding: .4rem .75rem; }
@media print { section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="soft">{{ result.student }}{% if result.submitted_at %} · handed in {{ result.submitted_at }}{% endif %}</p>
{% if result.state == "graded" %}
<p class="score">{{ one.total|points }} of {{ result.points|points }} points</p>
<progress max="{{ result.points }}" value="{{ one.total }}" aria-label="points">{{ one.total|points }}</progress>
{% else %}
<p class="score failed">Not graded</p>
<p>Your submission {{ result.reason|shown }}</p>
{% endif %}
{% if result.late_seconds %}<p class="note">Late by {{ "%.1f"|format(result.late_seconds / 3600) }} hours{%
 if one.penalty %}: {{ one.penalty|points }} of the {{ result.earned|points }} points earned are taken{% endif %}.</p>
{% endif %}
{% for question, checks in questions %}
<section aria-labelledby="question-{{ loop.index }}">
<header class="question"><h2 id="question-{{ loop.index }}">{{ question }}</h2>
<strong>{{ checks|sum(attribute="earned")|points }} / {{ checks|sum(attribute="points")|points }}</strong></header>
<ul>
{% for check in checks %}<li>
<span class="mark {{ check.status }}">{{ marks[check.status] }} {{ words[check.status] }}</span>
{{ check.name|spoken }} <span class="soft">({{ check.earned|points }} / {{ check.points|points }})</span>
{% if check.status in ("failed", "skipped") and check.message not in ("", result.reason) %}
<p>{{ check.message|shown }}</p>{% endif %}
{% if check.hint and check.status == "failed" %}<p class="hint">Hint: {{ check.hint|shown }}</p>{% endif %}
{% if check.status == "error" %}<p>{{ at_fault }}</p>{% endif %}
</li>
{% endfor %}</ul>
</section>
{% endfor %}
{% if findings %}
<section aria-labelledby="noticed">
<h2 id="noticed">Also noticed</h2>
<p class="soft">None of this costs points by itself; it may explain why a check failed.</p>
<ul>{% for finding in findings %}<li><p>{% if finding.cell %}<strong>{{ finding.cell|shown }}</strong>: {% endif %}{{
 finding.text|shown }}</p></li>
{% endfor %}</ul>
</section>
{% endif %}
</main>
</body>
</html>
"""


def feedback_page(one: Marked, title: str) -> str:
    """Return one student's page (HTML): points by question, what each check says, hints, and what was noticed."""
    questions: dict[str, list[object]] = {}
    for question, checks in groupby(one.result.checks, key=lambda check: check.question):
        questions.setdefault(question, []).extend(checks)
    return _template().render(
        one=one,
        result=one.result,
        title=title,
        at_fault=AT_FAULT,
        questions=questions.items(),
        findings=[finding for finding in one.result.findings if finding.text != one.result.reason],
        marks={"passed": "✔", "failed": "✘", "error": "⚠", "skipped": "–"},
        words={"passed": "passed", "failed": "failed", "error": "could not be checked", "skipped": "skipped"},
    )


@functools.cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "points": lambda number: f"{round(number, 2):g}",
        "shown": lambda text: text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …",
        "spoken": lambda name: name.removeprefix("test_").replace("_", " "),
    }
    return environment.from_string(_PAGE)
