"""Where grading looks and writes: never a lab of a student's, and never a folder that holds what it did not make."""

import shutil

import pytest

from mlops_helpers import cli
from mlops_helpers.errors import ParameterError, WorkspaceError
from mlops_helpers.teach import grading_commands, labs
from mlops_helpers.teach.grading_store import claim, copies, folder_in


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def submissions(tmp_path, monkeypatch):
    """A class in whose folder the instructor stands; a student's folder is named copies, another's as a lab."""
    folder = tmp_path / "submissions"
    for student in ("alice", "copies", "quality"):
        (folder / student).mkdir(parents=True)
        (folder / student / "lab.ipynb").write_bytes((labs.CHECKOUT / "labs/quality/lab.ipynb").read_bytes())
    (folder / "quality" / "checks.py").write_text("raise SystemExit('a student runs as the instructor')")
    # what a checkout looks like
    (folder / "pyproject.toml").touch()
    (folder / "mlops_helpers").mkdir()
    shutil.copytree(folder / "quality", folder / "labs" / "quality")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def graded_lab(monkeypatch):
    """Call ``opslab grade``; return the folder of the lab with which a class would be graded."""
    chosen = []

    def grade_class(place, lab, *more, **options):
        chosen.append(lab.folder)
        raise ParameterError("far enough")

    monkeypatch.setattr(grading_commands, "grade_class", grade_class)

    def call(*arguments):
        assert cli.main(["grade", *map(str, arguments)]) == 2
        return chosen.pop() if chosen else None

    return call


def test_a_students_folder_never_becomes_the_lab(submissions, tmp_path, graded_lab):
    assert graded_lab(".", "--lab", "quality", "--out", tmp_path / "out") == labs.CHECKOUT / "labs" / "quality"
    assert "delivery" in labs.names()


def test_a_lab_among_the_submissions_is_refused(submissions, tmp_path, graded_lab, capsys):
    assert graded_lab(".", "--lab", "./quality", "--out", tmp_path / "out") is None
    assert f"the lab {submissions / 'quality'} lies among the submissions" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_lab_of_ones_own_is_a_path_with_a_slash(submissions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert labs.load("./submissions/quality").folder == submissions / "quality"
    for name in ("submissions", "nonsense", "..", ".", ""):
        with pytest.raises(ParameterError, match=r"labs of the project: .*quality.*a path with a slash.*Next: "):
            labs.load(name)


@pytest.mark.parametrize("out", [".", "..", "copies", "alice/out", "link", "link/out", "{lab}", "{lab}/out", "{above}"])
def test_an_output_folder_that_overlaps_the_input_is_refused(submissions, tmp_path, graded_lab, capsys, out):
    (submissions / "link").symlink_to(submissions)
    (tmp_path / "link").symlink_to(submissions)
    lab = tmp_path / "mine" / "lab"
    shutil.copytree(labs.CHECKOUT / "labs" / "quality", lab)
    before = contents(tmp_path)
    out = out.format(lab=lab, above=lab.parent)
    assert graded_lab(tmp_path / "link", "--lab", lab, "--out", out) is None
    assert "Next: name a folder of its own: --out FOLDER" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert not (submissions / "alice" / "out").exists()


def test_an_output_folder_that_holds_a_single_submission_is_refused(submissions, graded_lab):
    assert graded_lab("alice/lab.ipynb", "--lab", "quality", "--out", "alice") is None


def test_an_output_folder_with_files_of_others_is_refused(submissions, tmp_path, graded_lab, capsys):
    out = tmp_path / "mine"
    (out / "copies").mkdir(parents=True)
    (out / "copies" / "0.ipynb").write_text("precious")
    (out / "gradebook.csv").write_text("precious")
    before = contents(out)
    assert graded_lab(submissions, "--lab", "quality", "--out", out) is None
    assert f"{out} has files of others, such as copies" in capsys.readouterr().err
    assert contents(out) == before


def test_a_folder_of_an_earlier_run_is_taken_again(tmp_path):
    claim(tmp_path / "out")
    (tmp_path / "out" / "gradebook.csv").touch()
    claim(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".opslab-grade", "gradebook.csv"]


def test_only_copies_are_removed(tmp_path):
    left = tmp_path / ".copies"
    left.mkdir()
    (left / "3.ipynb").write_text("of a killed run")
    (left / "notes.ipynb").write_text("precious")
    with copies(tmp_path) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["notes.ipynb"]
        (folder / "0.ipynb").touch()
    assert contents(tmp_path) == {".copies/notes.ipynb": b"precious"}
    (left / "notes.ipynb").unlink()
    with copies(tmp_path):
        pass
    assert not left.exists()


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "results").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match=r"not a folder of its own.*--out FOLDER"):
        folder_in(tmp_path, "results")
