"""What a run leaves to look at: executed copies, their pages, an index page and ``results.json``."""

import dataclasses
import functools
import json
import logging
import os
import re
import urllib.parse
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import CellError
from mlops_helpers.teach import documents
from mlops_helpers.teach.outfolder import INDEX, RESULTS, OutFolder
from mlops_helpers.teach.results import NotebookResult, Report
from mlops_helpers.workspace import atomic_file

if TYPE_CHECKING:
    from nbconvert import HTMLExporter
    from nbformat import NotebookNode

__all__ = ["write_index", "write_notebook"]

#: nbconvert's pages load libraries for formulas and old widgets from the network; ours are read without one.
FOREIGN_SCRIPT = re.compile(r'<script\s[^>]*src="https?://[^"]*"[^>]*>\s*</script>')

LOCAL_NOTEBOOK = re.compile(r'href="(?![a-z]+:)([^"#]+\.ipynb)"')
MANY_COLOURS = 5_000
BODY = re.compile(r"<body[^>]*>")
#: Lines of prose that the eye can follow, and tables of text that scroll rather than wrap.
READABLE = """<style>
.jp-RenderedHTMLCommon > :is(p, ul, ol, blockquote) { max-width: 55rem; }
.jp-OutputArea-output pre { white-space: pre; overflow-x: auto; }
nav a { color: #0550ae; font: 1rem system-ui, sans-serif; text-decoration: underline; }
</style>"""

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ headline }} – The Operations Lab</title>
<style>
:root { color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --link: #0550ae; --passed: #116329; --mismatch: #7d4e00; --failed: #a40e26; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6edf3; --paper: #0d1117; --soft: #9da7b3; --line: #30363d;
  --panel: #161b22; --link: #79c0ff; --passed: #56d364; --mismatch: #e3b341; --failed: #ff7b72; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; } h2 { font-size: 1.2rem; }
h3 { font-size: 1rem; margin-bottom: .25rem; }
p.facts { margin: 0 0 1.5rem; color: var(--soft); }
a { color: var(--link); } a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; border-bottom: 1px solid var(--line); }
thead th { border-bottom-width: 2px; white-space: nowrap; } tbody th { font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.status { font-weight: 700; white-space: nowrap; } small { color: var(--soft); }
.passed { color: var(--passed); } .mismatch { color: var(--mismatch); } .failed { color: var(--failed); }
section.problem { border-left: .3rem solid var(--failed); padding-left: 1rem; margin-top: 2rem; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .75rem;
  overflow-x: auto; font: .85rem/1.45 ui-monospace, monospace; }
</style>
</head>
<body>
<main>
<h1>{{ headline }}</h1>
<p class="facts">The Operations Lab · {{ record.finished }} · {{ "%.1f"|format(record.seconds) }} s in all ·
{{ record.kernels }}{% for remark in record.remarks %} · {{ remark }}{% endfor %}</p>
<div class="scroll" role="region" aria-label="Results" tabindex="0">
<table>
<caption>Each notebook as it ran; follow its title to read it with its outputs.</caption>
<thead><tr><th scope="col">Notebook</th><th scope="col">Status</th><th scope="col">Seconds</th>
<th scope="col">Cells</th>
<th scope="col">Checks</th><th scope="col">Parameters given</th><th scope="col">Files</th></tr></thead>
<tbody>
{% for row in record.notebooks %}<tr>
<th scope="row">{% if row.page %}<a href="{{ row.page|link }}">{{ row.title }}</a>{% else %}{{ row.title }}{% endif %}
<br><small>{{ row.notebook }}</small></th>
<td class="status {{ row.status }}">{{ marks[row.status] }} {%
 if row.status != "passed" %}<a class="{{ row.status }}" href="#problem-{{ loop.index }}">{{ row.status }}</a>{%
 else %}passed{% endif %}{% if row.earlier %}<br><small>in the run of {{ row.finished }}</small>{% endif %}</td>
<td class="number">{{ "%.1f"|format(row.seconds) }}</td>
<td class="number">{{ row.cells_executed }} of {{ row.cells }}{%
 for line in row.output_cut %}<br><small>{{ line }}</small>{% endfor %}</td>
<td>{% if row.not_compared %}not compared ({{ row.not_compared }}){% else %}{{
 row.checks_compared - row.mismatches|length }} of {{ row.checks_compared }} match{% endif %}</td>
<td>{% for name, value in row.parameters.items() %}<code>{{ name }} = {{ value.__repr__() }}</code><br>{%
 else %}defaults{% endfor %}</td>
<td>{% if row.executed %}<a href="{{ row.executed|link }}" aria-label="Executed notebook of {{
 row.title }}">.ipynb</a>{% endif %}</td>
</tr>
{% endfor %}</tbody>
</table>
</div>
{% for row in record.notebooks %}{% if row.status != "passed" %}
<section class="problem" id="problem-{{ loop.index }}" aria-labelledby="heading-{{ loop.index }}">
<h2 id="heading-{{ loop.index }}">{{ row.title }}: {{ row.status }}</h2>
{% if row.error %}<p>{{ row.error.message }}</p>
{% if row.error.source is defined %}{% if row.page and row.error.cell_id %}<p><a href="{{
 row.page|link }}#cell-id={{ row.error.cell_id }}">See the cell with its output</a></p>{% endif %}
<h3>Source of cell {{ row.error.cell }}</h3><pre>{{ row.error.source }}</pre>
{% if row.error.traceback %}<h3>Traceback</h3><pre>{{ row.error.traceback }}</pre>
{% endif %}{% endif %}{% endif %}
{% for mismatch in row.mismatches %}<h3>Check cell {{ mismatch.cell }} (id {{ mismatch.cell_id }})</h3>
<pre>{{ mismatch.reason }}</pre>{% endfor %}
</section>
{% endif %}{% endfor %}
</main>
</body>
</html>
"""


def write_notebook(
    result: NotebookResult, executed: "NotebookNode", out: OutFolder, stage: Path, layout: dict[Path, Path]
) -> NotebookResult:
    """Write the executed copy and its page below ``stage``; return the result with the files that they become.

    Raises ``WorkspaceError`` when ``stage`` cannot be written.
    """
    copy, page = (Path(f"{layout[result.path]}{suffix}") for suffix in (".ipynb", ".html"))
    documents.write(stage / copy, executed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ids and alternative texts: opslab check's matter
        html, _ = _exporter().from_notebook_node(executed, {"metadata": {"name": result.title}})
    html = _linked(FOREIGN_SCRIPT.sub("", html), result.path, out.folder / page, out, layout)
    with atomic_file(stage / page) as file:
        file.write_text(html, encoding="utf-8")
    return dataclasses.replace(result, executed=out.folder / copy, page=out.folder / page)


def _linked(html: str, notebook: Path, page: Path, out: OutFolder, layout: dict[Path, Path]) -> str:
    """Lead links between notebooks to their pages, or to their files where no run made a page; and home."""
    pages = {(out.folder / row["source"]).resolve(): out.folder / row["page"] for row in out.rows if row["page"]}
    pages |= {path.resolve(): out.folder / f"{place}.html" for path, place in layout.items()}

    def link(match: re.Match[str]) -> str:
        target = (notebook.parent / urllib.parse.unquote(match[1])).resolve()
        there = os.path.relpath(pages.get(target, target), page.parent)
        return f'href="{urllib.parse.quote(Path(there).as_posix())}"'

    home = urllib.parse.quote(Path(os.path.relpath(out.folder / INDEX, page.parent)).as_posix())
    nav = f'<nav style="padding: 1rem"><a href="{home}">All notebooks</a></nav>'
    html = LOCAL_NOTEBOOK.sub(link, html)
    html = BODY.sub(lambda match: match[0] + nav, html, count=1)
    return html.replace("</head>", f"{READABLE}</head>", 1)


@functools.cache
def _exporter() -> "HTMLExporter":
    """Return one exporter for all notebooks: compiling its templates takes longer than a page."""
    # The submodule, not the package: that would load the PDF, LaTeX and presentation exporters too.
    from nbconvert.exporters.html import HTMLExporter

    logger = logging.getLogger("opslab.pages")
    logger.setLevel(logging.ERROR)
    exporter = HTMLExporter(log=logger)
    exporter.register_filter("ansi2html", _coloured)
    return exporter


def _coloured(text: str) -> str:
    """Turn a terminal's colours into HTML, unless they are many: nbconvert copies the text for each of them."""
    from nbconvert.filters import ansi2html, strip_ansi

    return str(ansi2html(text if text.count("\x1b") <= MANY_COLOURS else strip_ansi(text)))


def write_index(report: Report, out: OutFolder, stage: Path) -> list[dict[str, Any]]:
    """Write ``index.html`` and ``results.json`` below ``stage``, with relative links: folders move.

    The report is this run's; rows of notebooks that only earlier runs executed stay as they were. Returns all rows.
    """
    import jinja2

    finished = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    fresh = [_row(result, out, finished) for result in report.results]
    run_now = {row["source"] for row in fresh}
    earlier = [row | {"earlier": True} for row in out.rows if row["source"] not in run_now]
    rows = sorted(fresh + earlier, key=lambda row: Path(row["source"]).parts)
    record = {
        "finished": finished,
        "seconds": round(report.seconds, 3),
        "passed": report.passed,
        "kernels": report.kernels,
        "remarks": report.remarks,
        "notebooks": rows,
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["link"] = urllib.parse.quote
    page = environment.from_string(TEMPLATE).render(
        record=record,
        headline=_headline(report, earlier),
        marks={"passed": "✔", "mismatch": "≠", "failed": "✘"},
    )
    for name, text in (
        (RESULTS, json.dumps(record, indent=2, ensure_ascii=False, default=repr) + "\n"),
        (INDEX, page),
    ):
        with atomic_file(stage / name) as file:
            file.write_text(text, encoding="utf-8")
    return rows


def _headline(report: Report, earlier: list[dict[str, Any]]) -> str:
    bad = sum(result.status != "passed" for result in report.results)
    total = len(report.results)
    noun = "notebook" if total == 1 else "notebooks"
    others = f"; {len(earlier)} more from earlier runs" if earlier else ""
    return (f"{bad} of {total} {noun} did not pass" if bad else f"{total} {noun} passed") + others


def _row(result: NotebookResult, out: OutFolder, finished: str) -> dict[str, Any]:
    def relative(path: Path | None) -> str | None:
        return path.relative_to(out.folder).as_posix() if path else None

    error: dict[str, Any] | None = None
    if result.error is not None:
        error = {"message": str(result.error)}
        if isinstance(result.error, CellError):
            error |= {key: getattr(result.error, key) for key in ("cell", "source", "traceback")}
            error["cell_id"] = result.failed_cell
    return {
        "notebook": os.path.relpath(result.path),
        "source": out.source(result.path),
        "finished": finished,
        "earlier": False,
        "title": result.title,
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "cells_executed": result.cells[0],
        "cells": result.cells[1],
        "checks_compared": result.checks,
        "not_compared": result.not_compared,
        "mismatches": [dataclasses.asdict(mismatch) for mismatch in result.mismatches],
        "output_cut": result.cut,
        "parameters": result.parameters,
        "error": error,
        "executed": relative(result.executed),
        "page": relative(result.page),
    }
