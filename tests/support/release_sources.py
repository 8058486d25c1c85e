"""What a team commits, changed on purpose, and single gates asked about it."""

from pathlib import Path

from mlops_helpers.deploy.gates import GATES, Job, Target


def change(source: Path, name: str, old: str, new: str) -> None:
    """Replace text in a file of a source; it must be there."""
    text = (source / name).read_bytes().decode()
    assert old in text
    (source / name).write_bytes(text.replace(old, new).encode())


def ask_gate(name, source, folder, *, needs=None, facts=None, settings=None, target=None):
    """Ask a gate about a source as it is now, with output and scratch below ``folder``."""
    for part in ("output", "scratch"):
        (folder / part).mkdir(exist_ok=True)
    folders = (source, folder / "output", folder / "scratch")
    job = Job(*folders, needs or {}, facts or {}, settings or {}, target or Target(), print, print)
    return GATES[name].check(job)
