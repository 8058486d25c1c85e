"""Which version answers which comment: a validated table of weights, decided by stable hashes, kept in a file.

Weighted rendezvous hashing: every version draws a point for the comment, and the highest score ``weight / -ln(point)``
wins. A version's share is its weight, in every process and for ever, and moving weight to a version moves comments to
it without taking any away: who saw the canary at 5 % sees it at 10 %.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.workspace import atomic_file

__all__ = ["RoutingTable", "first_gets_all", "key_of", "point", "split_address"]

_VERSION = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
_POINTS = 2**52  # one bit fewer than a float can tell apart: the middle of each of these steps is below 1


def point(salt: bytes, key: bytes) -> float:
    """Return a number above 0 and below 1 that depends on nothing but these bytes, spread evenly over keys."""
    step = int.from_bytes(blake2b(b"%b\0%b" % (salt, key), digest_size=8).digest()) >> 12
    return (step + 0.5) / _POINTS


def key_of(comment: Any) -> bytes:
    """Return what a comment is routed by: its id; without one its text; empty if it has neither."""
    if not isinstance(comment, dict):
        return b""
    name = comment.get("id", comment.get("text"))
    return name.encode() if isinstance(name, str) else b""


def first_gets_all(upstreams: Mapping[str, Any]) -> dict[str, float]:
    """Return the weights when nobody decided any: a canary's share of the readers is always somebody's decision."""
    return dict.fromkeys(list(upstreams)[:1], 1.0)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[IPv6]:port``. Raises ``ParameterError`` for anything else."""
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None or not 0 < int(found[3]) < 65536:
        raise ParameterError(f"{address!r} is no address; accepted: host:port, such as 127.0.0.1:8001 or [::1]:8001")
    return found[1] or found[2], int(found[3])


@dataclass(frozen=True)
class RoutingTable:
    """Addresses of each version, each version's share of the answers, and of the shadow copies.

    ``weights`` are shares that add up to 1; a version that is not named gets nothing. ``shadow`` are shares from 0 to 1
    of the comments: a version gets a copy of so many.

    Raises ``ParameterError`` for values that say something else.
    """

    upstreams: Mapping[str, Sequence[str]]
    weights: Mapping[str, float] = field(default_factory=dict)
    shadow: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_upstreams(self.upstreams)
        _check_shares("weights", self.weights, self.upstreams)
        _check_shares("shadow", self.shadow, self.upstreams)
        total = math.fsum(self.weights.values())
        if self.upstreams and not math.isclose(total, 1, abs_tol=1e-6):
            raise ParameterError(f"the weights add up to {total:g}; accepted: 1, such as {_example(self.upstreams)}")
        assign = object.__setattr__
        assign(self, "weights", {version: float(self.weights.get(version, 0)) for version in self.upstreams})
        assign(self, "shadow", {version: float(share) for version, share in self.shadow.items() if share})
        # Sorted, so that nothing depends on the order in which somebody wrote the weights down.
        active = sorted((version, version.encode(), weight) for version, weight in self.weights.items() if weight)
        assign(self, "_active", active)
        assign(self, "_copies", [(version, b"shadow\0" + version.encode(), s) for version, s in self.shadow.items()])

    _active: list[tuple[str, bytes, float]] = field(init=False, repr=False, compare=False)
    _copies: list[tuple[str, bytes, float]] = field(init=False, repr=False, compare=False)

    def version(self, key: bytes) -> str:
        """Return the version that answers a comment (see :func:`key_of`). Raises ``IndexError`` if there is none."""
        active = self._active
        if len(active) < 2:
            return active[0][0]
        return max(active, key=lambda entry: entry[2] / -math.log(point(entry[1], key)))[0]

    def copies(self, key: bytes) -> list[str]:
        """Return the versions that get a shadow copy of a comment, chosen independently of who answers it."""
        return [version for version, salt, share in self._copies if point(salt, key) < share]

    def heaviest_first(self) -> list[str]:
        """Return the versions with a weight above 0, the heaviest first."""
        return [version for version, _, _ in sorted(self._active, key=lambda entry: -entry[2])]

    def changed(self, part: str, value: Any) -> "RoutingTable":
        """Return a table with other ``upstreams``, ``weights`` or ``shadow``. Raises ``ParameterError``."""
        weights = {version: weight for version, weight in self.weights.items() if weight}
        if part == "upstreams" and not weights and isinstance(value, Mapping):
            weights = first_gets_all(value)
        return RoutingTable(**{**self.as_json(), "weights": weights, part: value})

    def as_json(self) -> dict[str, Any]:
        """Return upstreams, weights and shadow as plain values; ``RoutingTable(**them)`` is the same table again."""
        upstreams = {version: list(addresses) for version, addresses in self.upstreams.items()}
        return {"upstreams": upstreams, "weights": dict(self.weights), "shadow": dict(self.shadow)}

    def save(self, path: Path) -> None:
        """Write the table so that it survives a crash at any moment. Raises ``WorkspaceError`` if that fails."""
        with atomic_file(path) as stage, stage.open("wb") as file:
            file.write(orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: Path) -> "RoutingTable | None":
        """Return the saved table, None when there is none. Raises ``ServiceError`` when the file is no table."""
        try:
            return cls(**orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, ParameterError) as error:
            raise ServiceError(f"{path} is no routing table: {error}. Next: repair or remove it, then start") from error


def _check_upstreams(upstreams: Any) -> None:
    if not isinstance(upstreams, Mapping):
        raise ParameterError(
            'upstreams are no object; accepted: an object of lists, such as {"v1": ["127.0.0.1:8001"]}'
        )
    seen: set[str] = set()
    for version, addresses in upstreams.items():
        if not (isinstance(version, str) and _VERSION.fullmatch(version)):
            raise ParameterError(f"{version!r} is no version; accepted: 1 to 64 letters, digits, . _ : -")
        if not isinstance(addresses, list | tuple) or not addresses:
            raise ParameterError(f"{version} has {addresses!r}; accepted: a list of at least one address")
        for address in addresses:
            split_address(address)
            if address in seen:
                raise ParameterError(f"{address} is named twice; accepted: each address once, for one version")
            seen.add(address)


def _check_shares(what: str, shares: Any, upstreams: Mapping[str, Any]) -> None:
    if not isinstance(shares, Mapping):
        raise ParameterError(f"{what} are no object; accepted: an object of numbers, such as {_example(upstreams)}")
    for version, share in shares.items():
        if version not in upstreams:
            known = ", ".join(upstreams) or "none"
            raise ParameterError(
                f"{what} name the version {version!r}; accepted: {known}. "
                "Next: set its upstreams first, or, to remove it, give its share away first"
            )
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not (number and 0 <= share <= 1):  # NaN is not between anything
            raise ParameterError(f"{what} of {version}: {share!r}; accepted: a number from 0 to 1")


def _example(upstreams: Mapping[str, Any]) -> str:
    versions = (*upstreams, "v1", "v2")[: max(1, min(len(upstreams), 2))]
    return orjson.dumps(dict(zip(versions, (0.9, 0.1) if len(versions) == 2 else (1.0,), strict=True))).decode()
