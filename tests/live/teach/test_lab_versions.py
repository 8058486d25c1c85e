"""The student versions of the project's labs, executed."""

from mlops_helpers.errors import CellError
from mlops_helpers.teach import documents, labs, notebooks


def test_student_versions_run_up_to_their_first_stub(tmp_path):
    students = [tmp_path / f"{name}.ipynb" for name in labs.names()]
    for path in students:
        documents.write(path, labs.build(labs.load(path.stem)))
    report = notebooks.run(students, out=tmp_path / "out", compare=False)
    for result in report.results:
        first, second = list(labs.marked(documents.read(result.path), "solution"))[:2]
        assert isinstance(result.error, CellError), f"{result.path} is solved"
        assert "NotImplementedError" in result.error.traceback, result.explain()
        assert first <= result.error.cell < second, result.explain()
