"""The spam filter as a service: one verified artifact, answers within the event loop, every answer on record.

The prediction log is written before an answer is given (``ack``) or within 20 ms (``async``); when it cannot be
written, no answer is given either.
"""

import asyncio
import hmac
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mlops_helpers.errors import ArtifactError, LogFailed, LogFull
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.asgi import DEFAULT_LIMITS, App, Limits, Problem, Request, Response
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.preparing import prepared
from mlops_helpers.serve.scoring import ServedModel

__all__ = ["MAX_BATCH", "MAX_CHARACTERS", "make_filter"]

MAX_CHARACTERS = 10_000
"""The longest comment, in characters."""
MAX_BATCH = 128
"""The most comments in one request."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_RETRY = ((b"retry-after", b"1"),)
_SCORE_BUCKETS = tuple(step / 10 for step in range(1, 11))


def make_filter(
    model: ServedModel,
    log_folder: Path,
    *,
    durability: str = "ack",
    limits: Limits = DEFAULT_LIMITS,
    admin_token: str = "",
) -> App:
    """Return the service; ``admin_token`` empty: the model cannot be changed while it runs."""
    return _Filter(model, EventLog(log_folder, durability=durability), limits, admin_token).app


class _Serving(NamedTuple):
    """A model with all that its answers need, so that one assignment changes everything."""

    model: ServedModel
    short: str
    judged: dict[bool, Counter]
    observe: Callable[[float], None]


class _Filter:
    def __init__(self, model: ServedModel, log: EventLog, limits: Limits, admin_token: str) -> None:
        self.log, self.admin_token = log, admin_token
        self.request_ids = partial(next, _request_ids())
        self._set_up_metrics()
        self._use(model)
        routes = {
            "/v1/classify": {"POST": self.classify},
            "/healthz": {"GET": self.healthz},
            "/readyz": {"GET": self.readyz},
            "/version": {"GET": self.version},
            "/admin/model": {"PUT": self.swap},
        }
        self.app = App(routes, limits, registry=self.registry, start=log.open, stop=log.close)

    def _set_up_metrics(self) -> None:
        self.registry = CollectorRegistry()
        self._comments = Counter("filter_comments", "Comments judged.", ["version", "spam"], registry=self.registry)
        self._scores = Histogram(
            "filter_score", "Spam scores given.", ["version"], registry=self.registry, buckets=_SCORE_BUCKETS
        )
        Gauge("filter_log_waiting", "Records not yet on disk.", registry=self.registry).set_function(
            lambda: self.log.pending
        )
        Gauge("filter_log_failed", "1 when the prediction log cannot be written.", registry=self.registry).set_function(
            lambda: float(self.log.failed is not None)
        )
        info = Gauge("filter_model_info", "The model that serves.", ["version", "artifact"], registry=self.registry)
        self._info = info

    def _use(self, model: ServedModel) -> None:
        """Let a model serve: requests that began keep theirs, the next one gets this, none sees a mixture."""
        short = model.artifact.sha256[:12]
        judged = {spam: self._comments.labels(model.version, str(spam).lower()) for spam in (True, False)}
        self._info.clear()
        self._info.labels(model.version, short).set(1)
        self.serving = _Serving(model, short, judged, self._scores.labels(model.version).observe)

    async def classify(self, request: Request) -> Response:
        asked = request.json()
        batch = type(asked) is dict and "comments" in asked
        comments = _batch(asked) if batch else [asked]
        if self.log.failed is not None:
            raise Problem(503, "the prediction log cannot be written, so no answer is given", _RETRY)
        ids, texts = [], []
        for position, comment in enumerate(comments):
            comment_id, text = _comment(comment, position if batch else None)
            ids.append(comment_id)
            texts.append(text)
        serving = self.serving
        model = serving.model
        request_id, shadow = self._traits(request)
        scores = await model.scores(texts)
        threshold, now = model.artifact.threshold, time.time()
        verdicts = []
        on_disk = None
        for comment_id, text, score in zip(ids, texts, scores, strict=True):
            spam = score >= threshold
            verdicts.append({"id": comment_id, "spam": spam, "score": score, "version": model.version})
            record = {
                "ts": now,
                "request_id": request_id,
                "comment_id": comment_id,
                "version": model.version,
                "artifact": serving.short,
                "score": score,
                "spam": spam,
                "chars": len(text),
                "shadow": shadow,
            }
            on_disk = self._record(orjson.dumps(record))
            serving.judged[spam].inc()
            serving.observe(score)
        if on_disk is not None:
            try:
                await on_disk
            except LogFailed as error:
                raise Problem(503, f"the answer could not be recorded: {error}", _RETRY) from None
        return Response(200, orjson.dumps({"verdicts": verdicts} if batch else verdicts[0]))

    def _record(self, record: bytes) -> "asyncio.Future[None] | None":
        try:
            return self.log.append(record)
        except LogFull:
            raise Problem(503, "too many answers wait for the disk; try again in a second", _RETRY) from None
        except LogFailed as error:
            raise Problem(503, f"the answer could not be recorded: {error}", _RETRY) from None

    def _traits(self, request: Request) -> tuple[str, bool]:
        request_id, shadow = "", False
        for name, value in request.headers:
            if name == b"x-request-id" and _REQUEST_ID.match(value):
                request_id = value.decode()
            elif name == b"x-shadow":
                shadow = value == b"1"
        return request_id or self.request_ids(), shadow

    async def healthz(self, request: Request) -> Response:
        return Response(200, b'{"status":"alive"}')

    async def readyz(self, request: Request) -> Response:
        if self.app.draining:
            raise Problem(503, "draining: about to end")
        if self.log.failed is not None:
            raise Problem(503, f"the prediction log cannot be written: {self.log.failed}")
        return Response(200, orjson.dumps({"status": "ready", "version": self.serving.model.version}))

    async def version(self, request: Request) -> Response:
        served = self.serving.model
        keys = ("format", "data_sha256", "code_version", "versions", "hyperparameters")
        return Response(
            200,
            orjson.dumps(
                {
                    "version": served.version,
                    "artifact_sha256": served.artifact.sha256,
                    "threshold": served.artifact.threshold,
                    "since": served.since,
                    **{key: served.artifact.manifest[key] for key in keys if key in served.artifact.manifest},
                }
            ),
        )

    async def swap(self, request: Request) -> Response:
        if not self.admin_token:
            raise Problem(403, "no admin token is set; next: start the service with OPSLAB_ADMIN_TOKEN")
        if not hmac.compare_digest(request.header(b"authorization") or b"", b"Bearer " + self.admin_token.encode()):
            raise Problem(401, "the admin token is missing or wrong", ((b"www-authenticate", b"Bearer"),))
        wanted = request.json()
        texts = {key for key, value in wanted.items() if type(value) is str} if type(wanted) is dict else set()
        if texts != {"folder", "sha256", "version"} or len(wanted) != len(texts):
            raise Problem(422, "accepted: folder, sha256 and version, all texts")
        if not _ID.match(wanted["version"]):
            raise Problem(422, f"version is {wanted['version']!r}; accepted: 1 to 64 of letters, digits, . _ : -")
        try:
            loaded = await asyncio.to_thread(artifacts.load, Path(wanted["folder"]), wanted["sha256"])
        except (ArtifactError, ValueError) as error:  # ValueError: a path with NUL
            raise Problem(422, str(error)) from None
        self._use(ServedModel.of(wanted["version"], prepared(loaded)))
        return await self.version(request)


def _batch(asked: dict[str, Any]) -> list[Any]:
    comments = asked["comments"]
    if len(asked) != 1 or type(comments) is not list or not 1 <= len(comments) <= MAX_BATCH:
        found = f"{len(comments)} of them" if type(comments) is list else f"a {type(comments).__name__}"
        raise Problem(422, f"comments is {found}; accepted: a list of 1 to {MAX_BATCH}, and nothing beside it")
    return comments


def _comment(comment: Any, position: int | None) -> tuple[str | None, str]:
    """Return id and text of a comment, or raise :class:`Problem` 422 that says which field is wrong."""
    where = "" if position is None else f"comments[{position}]: "
    if type(comment) is not dict:
        raise Problem(422, f"{where}found a {type(comment).__name__}; accepted: an object with text, and with id")
    if strange := sorted(set(comment) - {"id", "text"})[:3]:
        raise Problem(422, f"{where}unknown: {', '.join(repr(name[:32]) for name in strange)}; accepted: id, text")
    if "text" not in comment or (position is not None and "id" not in comment):
        raise Problem(422, f"{where}has no {'id' if 'text' in comment else 'text'}; accepted: an object with id, text")
    text, comment_id = comment["text"], comment.get("id")
    if type(text) is not str:
        raise Problem(422, f"{where}text is {type(text).__name__}; accepted: a text")
    if len(text) > MAX_CHARACTERS:
        raise Problem(422, f"{where}text has {len(text)} characters; accepted: at most {MAX_CHARACTERS}")
    if "id" in comment and (type(comment_id) is not str or not _ID.match(comment_id)):
        raise Problem(422, f"{where}id is not 1 to 64 of letters, digits, . _ : -")
    return comment_id, text


def _request_ids() -> Any:
    prefix, number = os.urandom(4).hex(), 0  # told apart over processes without a random number each time
    while True:
        number += 1
        yield f"{prefix}-{number:x}"
