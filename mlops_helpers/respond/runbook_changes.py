"""What a runbook can change: a value behind an HTTP interface, a text in a file, which files are in a folder."""

import http.client
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from mlops_helpers.errors import ParameterError, ServiceError, WorkspaceError
from mlops_helpers.workspace import atomic_file

__all__ = ["FileText", "FilesInFolder", "HttpValue"]

_SECONDS = 10.0


@dataclass(frozen=True)
class HttpValue:
    """A value that a service tells as JSON at ``state_url`` and takes at ``change_url``.

    ``state_field`` leads to it in what is told (names joined by dots; empty: all of it), ``body_field`` names it in
    what is sent (empty: the value itself is the body). ``token`` goes along as bearer, and is in no record.

    Raises ``ParameterError`` for an address that is none.
    """

    what: str
    wanted: Any
    state_url: str
    change_url: str
    state_field: str = ""
    body_field: str = ""
    method: str = "PUT"
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for url in (self.state_url, self.change_url):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ParameterError(f"{url!r} is no address; accepted: a URL such as http://host:port/admin/weights")
        if self.method not in ("PUT", "POST"):
            raise ParameterError(f"method is {self.method!r}; accepted: PUT, POST")

    @classmethod
    def of(cls, what: str, described: Mapping[str, Any], token: str = "") -> Self:
        """Return the value that an object describes, by the names above: ``wanted`` and both addresses at least.

        Raises ``ParameterError`` for other names (a token is none of them: parameters are stored) and missing ones.
        """
        needed = {"wanted", "state_url", "change_url"}
        names = {one.name for one in fields(cls)} - {"what", "token"}
        if described.keys() - names or needed - described.keys():
            raise ParameterError(
                f"{what} is described by {', '.join(described) or 'nothing'}; needed: {', '.join(sorted(needed))}; "
                f"accepted as well: {', '.join(sorted(names - needed))}"
            )
        return cls(what, **described, token=token)

    def read(self) -> Any:
        """Return the value as the service tells it. Raises ``ServiceError`` when it does not."""
        answer = self._call("GET", self.state_url)
        for name in filter(None, self.state_field.split(".")):
            if not isinstance(answer, dict) or name not in answer:
                there = ", ".join(answer) if isinstance(answer, dict) else type(answer).__name__
                raise ServiceError(f"{self.state_url} tells no {self.state_field!r}; there is: {there}")
            answer = answer[name]
        return answer

    def write(self, value: Any) -> None:
        """Send the value. Raises ``ServiceError`` when it is not taken."""
        self._call(self.method, self.change_url, {self.body_field: value} if self.body_field else value)

    def _call(self, method: str, url: str, body: Any = None) -> Any:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=_SECONDS)
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            said = reply.read(1_000_000)
            if not 200 <= reply.status < 300:
                raise ServiceError(f"{method} {url} was answered {reply.status}: {said[:300].decode(errors='replace')}")
            return json.loads(said or b"null") if method == "GET" else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServiceError(
                f"{method} {url}: {error!r}. Next: does it answer from here, with this token?"
            ) from error
        finally:
            connection.close()


@dataclass(frozen=True)
class FileText:
    """The text of a file; None: there is no such file."""

    what: str
    wanted: str | None
    path: Path

    def read(self) -> str | None:
        """Return the text. Raises ``WorkspaceError`` when the file is there and cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"{self.path} cannot be read: {error}; accepted: a text file") from error

    def write(self, value: str | None) -> None:
        """Write the text, wholly or not at all; None removes the file if it still has the text that was wanted.

        Raises ``WorkspaceError``.
        """
        if value is None:
            if self.read() not in (None, self.wanted):
                raise WorkspaceError(
                    f"{self.path} has another text than this runbook wrote; nothing was removed. "
                    "Next: read it, then remove it yourself"
                )
            self.path.unlink(missing_ok=True)
        else:
            with atomic_file(self.path) as stage:
                stage.write_text(value, encoding="utf-8")


@dataclass(frozen=True)
class FilesInFolder:
    """Which files named like ``pattern`` are in ``folder``; those that shall not be are moved to ``archive``.

    Nothing is deleted, so that everything can be moved back. ``archive`` should be on another disk.
    """

    what: str
    wanted: Sequence[str]
    folder: Path
    pattern: str
    archive: Path

    def __post_init__(self) -> None:
        if "/" in self.pattern or not self.pattern.strip("*?. "):
            raise ParameterError(f"pattern is {self.pattern!r}; accepted: names in one folder, such as access-*.log")
        if self.archive.resolve() == self.folder.resolve():
            raise ParameterError(f"archive is the folder itself, {self.folder}; accepted: another one")

    def read(self) -> list[str]:
        """Return their names in order. Raises ``WorkspaceError`` when there is no such folder."""
        if not self.folder.is_dir():
            raise WorkspaceError(f"there is no folder {self.folder}; accepted: the one that fills the disk")
        return sorted(path.name for path in self.folder.glob(self.pattern) if path.is_file() and not path.is_symlink())

    def write(self, value: Sequence[str]) -> None:
        """Move what is not in ``value`` to the archive, and what is missing back. Raises ``WorkspaceError``."""
        here = set(self.read())
        try:
            self.archive.mkdir(parents=True, exist_ok=True)
            for names, source, target in (
                (here - set(value), self.folder, self.archive),
                (set(value) - here, self.archive, self.folder),
            ):
                for name in sorted(names):
                    if os.path.lexists(target / name):
                        raise WorkspaceError(f"{target / name} is there already; accepted: an archive without it")
                    shutil.move(source / name, target / name)
        except OSError as error:
            raise WorkspaceError(f"cannot move {self.pattern} from {self.folder}: {error}") from error
