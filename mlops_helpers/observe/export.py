"""Everything that other systems need to know of objectives, in one folder."""

import json
from collections.abc import Iterable
from pathlib import Path

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK
from mlops_helpers.observe.export_grafana import grafana_dashboard
from mlops_helpers.observe.export_rules import RUNBOOK, prometheus_rules
from mlops_helpers.observe.export_tests import promtool_tests
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.openslo import to_openslo
from mlops_helpers.observe.promql import Rules, exportable
from mlops_helpers.workspace import atomic_file

__all__ = ["write"]

_MARK = "Generated from objectives by mlops_helpers.observe.export; change these, and write it again."


def write(
    folder: Path, objectives: Iterable[Objective], rules: Rules = WORKBOOK, *, runbook_url: str = RUNBOOK
) -> list[Path]:
    """Write files into ``folder`` (made if missing) and return their paths.

    ``rules/SLO.yml`` is for Prometheus, ``tests/SLO-5m.yml`` for ``promtool test rules``, ``dashboard.json`` for
    Grafana, ``openslo.yml`` for everybody else. Files that were written before are replaced.

    Files that were written before for objectives that are no longer given are removed.

    Raises ``ObjectiveError`` for objectives that cannot be exported, and before it would replace a file that it has not
    written; then nothing has changed. Raises ``WorkspaceError`` when the folder cannot be written.
    """
    texts = {}
    pairs = exportable(objectives, rules)
    for objective, own in pairs:
        name = objective.name
        texts[f"rules/{name}.yml"] = prometheus_rules([objective], own, runbook_url=runbook_url)
        tests = promtool_tests(objective, own, rule_file=f"../rules/{name}.yml", runbook_url=runbook_url)
        texts |= {f"tests/{name}-{which}.yml": text for which, text in tests.items()}
    known, rules_of = [objective for objective, _ in pairs], {objective.name: own for objective, own in pairs}
    texts["openslo.yml"] = to_openslo(known, rules_of)
    texts = {name: f"# {_MARK}\n{text}" for name, text in texts.items()}
    dashboard = grafana_dashboard(known, rules_of)
    texts["dashboard.json"] = json.dumps(dashboard | {"description": f"{dashboard['description']} {_MARK}"}, indent=2)
    folder = Path(folder)
    paths = {folder / name: text for name, text in texts.items()}
    foreign = [path for path in paths if path.exists() and not _is_ours(path)]
    if foreign:
        raise ObjectiveError(
            f"{foreign[0]} was not written by this; nothing was changed. Next: another folder, or move it"
        )
    for path, text in paths.items():
        with atomic_file(path) as stage:
            stage.write_text(text, encoding="utf-8")
    for path in [*folder.glob("rules/*.yml"), *folder.glob("tests/*.yml")]:
        if path not in paths and _is_ours(path):
            path.unlink()
    return list(paths)


def _is_ours(path: Path) -> bool:
    return path.is_file() and _MARK in path.read_text(encoding="utf-8", errors="replace")
