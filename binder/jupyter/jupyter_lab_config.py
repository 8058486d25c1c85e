"""How JupyterLab serves the course: ``make lab``, the lab image and Binder name this folder in JUPYTER_CONFIG_PATH.

Beside it, ``labconfig/`` holds settings of the interface: it asks for no news, looks for no updates, opens no popup.
"""

import os
import sys
from pathlib import Path

project = Path(__file__).resolve().parents[2]
c = get_config()  # noqa: F821 (Jupyter gives it to this file)
c.ServerApp.root_dir = str(project)  # chapters link to labs and to the other documents
c.LabApp.default_url = "/lab/tree/notebooks/00_start_here.ipynb"

# opslab, ansible and the like are found in notebooks and terminals; a login shell would set PATH anew
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
c.ServerApp.terminado_settings = {"shell_command": [os.environ.get("SHELL", "/bin/sh")]}
