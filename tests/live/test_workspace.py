"""A full disk: the system's own limit stands in for it, which only another process can be given."""

import os
import subprocess
import sys
from pathlib import Path


def test_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, pathlib; from mlops_helpers.workspace import atomic_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"with atomic_file(pathlib.Path({str(tmp_path / 'big')!r})) as path:\n"
        "    path.write_bytes(bytes(5000))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert "WorkspaceError: cannot write to" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []
