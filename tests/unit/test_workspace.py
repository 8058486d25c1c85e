"""The one writable folder, and that nothing half-written stays in it."""

from pathlib import Path

import pytest

from mlops_helpers import workspace as ws
from mlops_helpers.errors import WorkspaceError


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_workspace_is_the_folder_of_the_variable(workspace_folder: Path) -> None:
    assert ws.workspace("a", "b") == workspace_folder / "a" / "b"
    assert (workspace_folder / "a" / "b").is_dir()


def test_default_is_the_same_from_every_folder_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "mlops_helpers").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("OPSLAB_WORKSPACE")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert ws.workspace() == tmp_path / "build" / "workspace"


def test_unwritable_workspace_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(tmp_path / "file"))
    with pytest.raises(WorkspaceError, match="export OPSLAB_WORKSPACE=FOLDER"):
        ws.workspace("below")
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(WorkspaceError, match="export OPSLAB_CACHE=FOLDER"):
        ws.cache()


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with ws.atomic_file(target) as path:
        path.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(KeyError), ws.atomic_file(target) as path:
        path.write_text("two")
        raise KeyError
    assert target.read_text() == "one"
    assert contents(tmp_path) == ["new", "new/file.txt"]


def test_folder_replaces_another_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("old", "new"):
        with ws.atomic_folder(target) as folder:
            (folder / name).touch()
    assert contents(tmp_path) == ["folder", "folder/new"]
    with pytest.raises(KeyboardInterrupt), ws.atomic_folder(target) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert contents(tmp_path) == ["folder", "folder/new"]


@pytest.mark.parametrize("rename", [1, 2])
def test_interrupt_while_a_folder_is_exchanged_keeps_the_old_one(tmp_path: Path, monkeypatch, rename: int) -> None:
    target = tmp_path / "folder"
    with ws.atomic_folder(target) as folder:
        (folder / "old").touch()
    original, calls = Path.rename, []

    def interrupted(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == rename:
            raise KeyboardInterrupt
        return original(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), ws.atomic_folder(target) as folder:
        (folder / "new").touch()
    assert contents(tmp_path) == ["folder", "folder/old"]


def test_other_error_of_the_system_keeps_its_meaning(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), ws.atomic_file(tmp_path / "file"):
        (tmp_path / "elsewhere").read_text()
