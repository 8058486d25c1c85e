"""Make ``build/nbgrader``, an environment with nbgrader on top of this one: ``python .ci/nbgrader.py``.

Labs must stay usable with nbgrader, and it is what grading is measured against. It is no part of the project's own
environment, since it adds its menus to everybody's JupyterLab. Its packages are verified by hash, like all others.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "build" / "nbgrader"
REQUIREMENTS = Path(__file__).with_name("nbgrader.txt")


def main() -> int:
    """Make it anew, unless it is there; the last step writes ``.ready``."""
    python, ready = FOLDER / "bin" / "python", FOLDER / ".ready"
    if ready.is_file() and ready.stat().st_mtime >= REQUIREMENTS.stat().st_mtime:
        return 0
    uv = [sys.executable, "-m", "uv"]
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    verified = ["--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    steps = (
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), *verified],
    )
    for step in steps:
        if subprocess.run(step, cwd=PROJECT, env=environment, check=False).returncode:
            print("build/nbgrader could not be made. Next: check the network, then make nbgrader", file=sys.stderr)
            return 1
    (site,) = FOLDER.glob("lib/python*/site-packages")
    (site / "project.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8"
    )
    alembic = FOLDER / "bin" / "alembic"  # nbgrader calls it as a command; the project's own does not know nbgrader
    alembic.write_text(f"#!{python}\nfrom alembic.config import main\n\nmain()\n", encoding="utf-8")
    alembic.chmod(0o755)
    ready.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
