"""Everything that other systems need to know of objectives, in one folder."""

import hashlib
import json
import re
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

_WRITTEN = "written.json"
_NAME = re.compile(r"(rules|tests)/[a-z0-9-]+\.yml|openslo\.yml|dashboard\.json")
_MARK = "Generated from objectives by mlops_helpers.observe.export; change these, and write it again."


def write(
    folder: Path, objectives: Iterable[Objective], rules: Rules = WORKBOOK, *, runbook_url: str = RUNBOOK
) -> list[Path]:
    """Write files into ``folder`` (made if missing) and return their paths.

    ``rules/SLO.yml`` is for Prometheus, ``tests/SLO-5m.yml`` for ``promtool test rules``, ``dashboard.json`` for
    Grafana, ``openslo.yml`` for everybody else. Files that were written before are replaced, and those of objectives
    that are no longer given are removed; ``written.json`` says which these are. Whatever somebody has changed since
    stays.

    Raises ``ObjectiveError`` for objectives that cannot be exported, and before it would replace a file that it has not
    written as it is; then nothing has changed. Raises ``WorkspaceError`` when the folder cannot be written.
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
    record = folder / _WRITTEN
    before = _written(record)
    ours = [path for name, digest in before.items() if (path := folder / name).is_file() and _digest(path) == digest]
    foreign = [path for path in paths if path.exists() and path not in ours]
    if record.exists() and not before:
        foreign.append(record)
    if foreign:
        raise ObjectiveError(
            f"{foreign[0]} was not written by this, or changed since; nothing was changed. Next: another folder, or "
            "move it"
        )
    for path, text in paths.items():
        with atomic_file(path) as stage:
            stage.write_text(text, encoding="utf-8")
    with atomic_file(record) as stage:
        stage.write_text(json.dumps({name: _digest(folder / name) for name in texts}, indent=2), encoding="utf-8")
    for path in ours:
        if path not in paths:
            path.unlink()
    return list(paths)


def _written(record: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that an earlier call has written, by name; nothing when the record is no such."""
    try:
        written = dict(json.loads(record.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
    # only names that are given above: no record may lead elsewhere
    return written if all(_NAME.fullmatch(name) for name in written) else {}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
