"""What an operator may change while the gateway runs: upstreams, weights, shadow; stored before it is answered."""

import asyncio
import hmac
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import orjson

from mlops_helpers.errors import ParameterError, WorkspaceError
from mlops_helpers.serve.asgi import Handler, Problem, Request, Response
from mlops_helpers.serve.forwarding import Forwarder
from mlops_helpers.serve.upstreams import Upstreams

__all__ = ["Admin"]


class Admin:
    """The calls below /admin; ``token`` is what a caller must know, None: nobody may call."""

    def __init__(self, path: Path, token: str | None, forwarder: Forwarder, upstreams: Upstreams) -> None:
        self._path, self._forwarder, self._upstreams = path, forwarder, upstreams
        self._expected = f"Bearer {token}".encode() if token else None
        self._one_at_a_time = asyncio.Lock()
        self.routes: Mapping[str, Mapping[str, Handler]] = {
            "/admin/state": {"GET": self._state},
            **{f"/admin/{part}": {"PUT": partial(self._change, part)} for part in ("upstreams", "weights", "shadow")},
        }

    def _authorise(self, request: Request) -> None:
        if self._expected is None:
            raise Problem(403, "no admin token is set; next: start the service with OPSLAB_ADMIN_TOKEN")
        if not hmac.compare_digest(request.header(b"authorization") or b"", self._expected):
            raise Problem(401, "the admin token is missing or wrong", ((b"www-authenticate", b"Bearer"),))

    async def _state(self, request: Request) -> Response:
        self._authorise(request)
        replicas = [
            {"version": r.version, "address": r.address, "state": r.state, "under_way": r.under_way}
            for r in self._upstreams
        ]
        return Response(200, orjson.dumps({**self._forwarder.table.as_json(), "replicas": replicas}))

    async def _change(self, part: str, request: Request) -> Response:
        self._authorise(request)
        async with self._one_at_a_time:
            try:
                table = self._forwarder.table.changed(part, request.json())
            except ParameterError as error:
                raise Problem(422, str(error)) from None
            try:
                await asyncio.to_thread(table.save, self._path)
            except WorkspaceError as error:
                raise Problem(507, f"nothing was changed: {error}") from None
            if part == "upstreams":
                await self._upstreams.change(table.upstreams)
            self._forwarder.table = table
        return await self._state(request)
