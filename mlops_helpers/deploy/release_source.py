"""The template of what a team commits: training settings, service configuration, a text utility, a migration, tests."""

import io
import zipfile
from importlib.resources import as_file, files
from pathlib import Path

from mlops_helpers.errors import ParameterError
from mlops_helpers.workspace import atomic_folder

__all__ = ["copy", "wheel"]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same wheel gives the same bytes, whenever it is made


def copy(folder: Path) -> Path:
    """Write a source folder to change and to release, with the company's packages in ``packages/``; return it.

    Raises ``ParameterError`` when the folder is there already, ``WorkspaceError`` when it cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise ParameterError(f"{folder} is there already. Next: name another folder, or remove that one")
    with as_file(files("mlops_helpers.deploy") / "release_source") as template, atomic_folder(folder) as fresh:
        for path in sorted(template.rglob("*")):
            name = path.relative_to(template)
            if path.is_dir() or "__pycache__" in name.parts:
                continue
            into = fresh / name
            content = path.read_bytes()
            if name.parts[0] == "packages":
                into, content = into.with_name(f"{path.stem}-py3-none-any.whl"), wheel(path.stem, content)
            into.parent.mkdir(parents=True, exist_ok=True)
            into.write_bytes(content)
    return folder


def wheel(name: str, module: bytes) -> bytes:
    """Return a wheel of one module; ``name`` is such as ``commentkit-1.4.0``. The same module gives the same bytes."""
    package, _, version = name.partition("-")
    about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode()
    how = b"Wheel-Version: 1.0\nGenerator: release_source\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents = {f"{package}.py": module, f"{name}.dist-info/METADATA": about, f"{name}.dist-info/WHEEL": how}
    record = "".join(f"{path},,\n" for path in (*contents, f"{name}.dist-info/RECORD"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path, content in (*contents.items(), (f"{name}.dist-info/RECORD", record.encode())):
            archive.writestr(zipfile.ZipInfo(path, _LONG_AGO), content)
    return made.getvalue()
