"""Where a pipeline keeps what its stages made, so that nothing is made twice and nothing half-made is taken for whole.

::

    lock              held by the one run that there may be
    releases.jsonl    the record (see release_record): what it does not name is not believed
    stages/NAME-KEY/  result.json, log.txt and output/ of a stage that ended; KEY is the hash of all that decided it
    .work-RANDOM/     where a stage is at work; a file ``owner`` says that a run made it: the next one may remove it

DVC keeps stages by hash as well, and was tried. It brings 97 packages, starts a shell and an interpreter for each stage
(2 to 4 s where scikit-learn is needed), knows no gate that says why, and no verdict that depends on what is no file,
such as which release serves now.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.ownership import MARK, owner
from mlops_helpers.deploy.release_record import ReleaseRecord
from mlops_helpers.errors import ParameterError, PipelineError, TamperedArtifactError
from mlops_helpers.workspace import writable_folder

__all__ = ["StageResult", "Store", "hashes", "refuse_overlap", "tree_hash"]

_RESULT, _LOG, _OUTPUT = "result.json", "log.txt", "output"
_WORK = ".work-"


@dataclass(frozen=True)
class StageResult:
    """How a stage ended: ``verdict`` is ``passed`` or ``refused`` (``reason`` says why), ``seconds`` what it took then.

    ``inputs`` has the hash of each file that it saw and, as ``NAME/``, of each stage's output that it took; ``sha256``
    is that of its own output, ``facts`` what its gate said. ``reused``: nothing that decides it has changed, and it was
    not run again.
    """

    name: str
    key: str
    inputs: Mapping[str, str]
    verdict: str
    reason: str
    seconds: float
    sha256: str
    facts: Mapping[str, Any]
    folder: Path = field(repr=False)
    reused: bool = False

    @property
    def output(self) -> Path:
        """The folder with what it made."""
        return self.folder / _OUTPUT

    @property
    def log(self) -> str:
        """What its gate said meanwhile."""
        return (self.folder / _LOG).read_text("utf-8")


class Store:
    """The results and the record of one product's releases, in a folder that is made if missing.

    Raises ``WorkspaceError`` when it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = writable_folder(Path(folder), "another folder")
        self.record = ReleaseRecord(self.folder)
        self._stages = self.folder / "stages"

    @contextmanager
    def one_run(self) -> Iterator[None]:
        """Be the only run in this folder. Raises ``PipelineError`` when there is another one, naming its process."""
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise PipelineError(
                    f"another pipeline runs in {self.folder} (process {lock.read().strip() or 'unknown'}). "
                    "Next: wait for it, or name another folder"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            for mark in self.folder.glob(f"{_WORK}*/{MARK}"):  # what killed runs were at
                shutil.rmtree(mark.parent, ignore_errors=True)
            yield

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Yield an empty folder that goes at the end, however that comes."""
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self.folder))  # a killed run's services may still use theirs
        (work / MARK).write_text(owner(), "utf-8")
        place = work / "stage"
        (place / _OUTPUT).mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def find(self, name: str, key: str) -> StageResult | None:
        """Return a stage's passed result of that key; None when there is none that the record names.

        Raises ``TamperedArtifactError`` when it is not what was recorded.
        """
        recorded = [
            entry
            for entry in self.record.entries()
            if entry["event"] == "stage" and (entry["stage"], entry["key"], entry["verdict"]) == (name, key, "passed")
        ]
        folder = self._folder(name, key)
        if not recorded or not folder.is_dir():
            return None
        if self.seal(folder) != recorded[-1]["seal"]:
            raise TamperedArtifactError(
                f"what stage {name} made, in {folder}, is not what was recorded. Next: remove that folder, and run the "
                "pipeline again, which makes it anew"
            )
        content = json.loads((folder / _RESULT).read_text("utf-8"))
        return StageResult(**content, folder=folder, reused=True)

    def keep(self, place: Path, result: Mapping[str, Any]) -> StageResult:
        """Take over a workplace with its result. It counts once the record has its :meth:`seal`.

        Raises ``PipelineError`` when something else has the place of the result.
        """
        folder = self._folder(result["name"], result["key"])
        made = StageResult(**result, sha256=tree_hash(place / _OUTPUT), folder=folder)
        content = asdict(made)
        del content["folder"], content["reused"]
        (place / _RESULT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if (folder / _RESULT).is_file():  # refused, or not recorded: never what is reused
            folder.rename(place.with_name("replaced"))
        elif folder.exists():
            raise PipelineError(f"{folder} is no stage's result. Next: move it away, or name another folder")
        folder.parent.mkdir(exist_ok=True)
        place.rename(folder)
        return made

    @staticmethod
    def seal(folder: Path) -> str:
        """Return the hash of all that was kept of a stage but its log."""
        parts = [hashlib.sha256((folder / _RESULT).read_bytes()).hexdigest(), tree_hash(folder / _OUTPUT)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _folder(self, name: str, key: str) -> Path:
        return self._stages / f"{name}-{key[:16]}"


def refuse_overlap(source: Path, folder: Path) -> None:
    """Raise ``ParameterError`` when the folder of a store holds a source or lies in it; touch neither."""
    inner, outer = Path(source).resolve(), Path(folder).resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ParameterError(
            f"folder is {folder}; accepted: one that neither holds the source {source} nor lies in it. "
            f"Next: name another one, such as {inner.with_name(f'{inner.name}-pipeline')}"
        )


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def tree_hash(folder: Path) -> str:
    """Return one hash of all files below a folder, names included."""
    return hashlib.sha256(json.dumps(hashes(folder), sort_keys=True).encode()).hexdigest()
