"""Where releases go: a platform that readers use, which remembers what it serves."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from mlops_helpers.deploy import bundle as bundles
from mlops_helpers.deploy import migrations
from mlops_helpers.deploy.bundle import Bundle
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.rollback import Rollback, Tell, rollback, silent
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import PipelineError, ServiceError
from mlops_helpers.serve.store import DATABASE
from mlops_helpers.workspace import atomic_file, writable_folder

__all__ = ["PlatformProduction", "Production", "Rollout", "all_at_once"]

Rollout = Callable[[Platform, str, str, Tell], None]
"""``rollout(platform, new, old, tell)`` takes readers from one version to another; it raises when it took them back."""


class Production(Protocol):
    """What a pipeline releases into."""

    def serving(self) -> Bundle | None:
        """Return what serves now, verified; None when nothing does."""

    def release(self, bundle: Bundle, tell: Tell) -> bool:
        """Let readers be served by a bundle, whole or not at all; return False when they were already."""


def all_at_once(platform: Platform, new: str, old: str, tell: Tell) -> None:
    """Give a version all comments in one step."""
    platform.set_weights({new: 1.0})
    tell("switched", serves=new)


class PlatformProduction:
    """A :class:`Platform` in ``folder`` that serves bundles, from its first release on; ended with the context.

    It has a copy of what it serves and of what it served before, and goes on with that when it is opened again. The
    filters of the release before stay, for :meth:`roll_back`. ``runtime`` is that of the filters, ``rollout`` how
    readers are taken from one release to the next; ``options`` are more of the platform's.
    """

    def __init__(
        self, folder: Path, *, runtime: str = "process", rollout: Rollout = all_at_once, **options: Any
    ) -> None:
        self.folder = writable_folder(Path(folder), "another folder")
        self.runtime, self._rollout, self._options = runtime, rollout, options
        self._platform: Platform | None = None

    def __enter__(self) -> Self:
        if serving := self.serving():
            self._open(serving, silent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the platform; safe twice."""
        if self._platform is not None:
            self._platform.down()
            self._platform = None

    @property
    def platform(self) -> Platform:
        """The platform that readers use. Raises ``ServiceError`` before the first release."""
        if self._platform is None:
            raise ServiceError("nothing is released yet. Next: run a pipeline to its end 'deployment'")
        return self._platform

    @property
    def database(self) -> Path:
        """The blog's database."""
        return self.folder / "platform" / "blog" / DATABASE

    def serving(self) -> Bundle | None:
        """Return what serves now, verified; None before the first release."""
        return self._known("serving")

    def previous(self) -> Bundle | None:
        """Return what served before, verified, if readers can be taken back to it."""
        return self._known("previous")

    def release(self, bundle: Bundle, tell: Tell) -> bool:
        """Let readers be served by a bundle, and tell of each step; return False when they were already.

        Raises ``ServiceError`` when it does not get ready, or what the rollout raises; readers are served as before
        then. Raises ``TamperedArtifactError`` when the bundle is not what it was, ``PipelineError`` when another
        release is under way.
        """
        with self._one_release():
            before = self.serving()
            if before is not None and self._platform is None:
                self._open(before, tell)
            if before is not None and before.sha256 == bundle.sha256:
                return False
            mine = self._copy(bundle)
            if before is None:
                self._open(mine, tell)
            else:
                self._replace(before, mine, tell)
            self._remember(mine, before)
            self._tidy()
        return True

    def roll_back(self, tell: Tell = silent) -> Rollback | None:
        """Give readers the release before, then take its successor's migrations back; None when there is none before.

        Should the release before not answer, readers keep the one that they have, and the result says why.

        Raises ``ServiceError`` when neither answers, or a migration cannot be taken back.
        """
        with self._one_release():
            serving, previous = self.serving(), self.previous()
            if serving is None or previous is None:
                return None
            if previous.version not in self.platform.filters:
                self._add(previous)
            done = rollback(self.platform, previous.version, fallbacks=[serving.version], tell=tell)
            if done.serves == previous.version:
                self._remember(previous, None)
                kept = migrations.names(previous.migrations)
                newer = [name for name in migrations.names(serving.migrations) if name not in kept]
                migrations.undo(serving.migrations, self.database, newer)
                tell("migrations_taken_back", names=newer)
                self.platform.remove_version(serving.version)
                self._tidy()
        return done

    def _replace(self, before: Bundle, mine: Bundle, tell: Tell) -> None:
        made = migrations.apply(mine.migrations, self.database)
        tell("migrated", names=made)
        with undone_by(lambda: migrations.undo(mine.migrations, self.database, made)):
            for version in set(self.platform.filters) - {before.version}:
                self.platform.remove_version(version)
            self._add(mine)
            tell("started_version", version=mine.version)

            def back() -> None:
                self.platform.set_weights({before.version: 1.0})
                self.platform.remove_version(mine.version)

            with undone_by(back):
                self._rollout(self.platform, mine.version, before.version, tell)

    def _open(self, bundle: Bundle, tell: Tell) -> None:
        placed = bundle.placed(self.runtime)
        self._platform = Platform(
            {bundle.version: bundle.artifact},
            folder=self.folder / "platform",
            replicas=bundle.service.replicas,
            limits=bundle.service.limits,
            runtime=self.runtime,
            by="a production of releases",
            **placed,
            **self._options,
        ).up()
        with undone_by(self.close):
            tell("migrated", names=migrations.apply(bundle.migrations, self.database))
        tell("switched", serves=bundle.version)

    def _add(self, bundle: Bundle) -> None:
        service = bundle.service
        self.platform.add_version(
            bundle.version,
            bundle.artifact,
            replicas=service.replicas,
            limits=service.limits,
            **bundle.placed(self.runtime),
        )

    def _copy(self, bundle: Bundle) -> Bundle:
        """Return a verified copy of our own. It is noted first: what is not noted is not ours, and never removed."""
        verified, place = bundles.load(bundle.folder, bundle.sha256), self._kept / bundle.version
        copies = self._state()["copies"]
        if place.exists() and bundle.version not in copies:
            raise PipelineError(f"{place} is no copy of this production's. Next: move it away, or name another folder")
        self._write(copies=sorted({*copies, bundle.version}))
        return verified.copy(place)

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / "serving.json").read_text("utf-8"))
        except FileNotFoundError:
            state = {"serving": None, "previous": None}
        return {"copies": [one["version"] for one in (state["serving"], state["previous"]) if one], **state}

    def _write(self, **changed: Any) -> None:
        with atomic_file(self.folder / "serving.json") as path:
            path.write_text(json.dumps(self._state() | changed, indent=2) + "\n", encoding="utf-8")

    def _known(self, which: str) -> Bundle | None:
        named = self._state()[which]
        return bundles.load(self._kept / named["version"], named["sha256"]) if named else None

    def _remember(self, serving: Bundle, previous: Bundle | None) -> None:
        self._write(
            **{
                name: bundle and {"version": bundle.version, "sha256": bundle.sha256}
                for name, bundle in (("serving", serving), ("previous", previous))
            }
        )

    def _tidy(self) -> None:
        """Remove our copies of the bundles that nobody can be taken back to any more."""
        needed = {bundle.version for bundle in (self.serving(), self.previous()) if bundle}
        for version in {*self._state()["copies"]} - needed:
            shutil.rmtree(self._kept / version, ignore_errors=True)
        self._write(copies=sorted(needed))

    @property
    def _kept(self) -> Path:
        return self.folder / "bundles"

    @contextmanager
    def _one_release(self) -> Iterator[None]:
        with (self.folder / "release.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PipelineError(f"another release is under way in {self.folder}. Next: wait for it") from None
            yield
