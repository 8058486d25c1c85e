"""What a blog consists of: posts, comments, and what the filter says of them. Times are seconds since 1970 UTC."""

from dataclasses import dataclass

__all__ = ["Comment", "Draft", "Post", "Verdict"]


@dataclass(frozen=True, slots=True)
class Post:
    """A post; ``comments`` counts the published ones, ``published_at`` is in seconds since 1970 UTC."""

    id: str
    title: str
    summary: str
    body: str
    published_at: float
    comments: int


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment, as its row in the database (see blog.sql); ``number`` is its place in the order of arrival."""

    number: int
    id: str
    post: str
    author: str
    text: str
    idempotency_key: str | None
    created_at: float
    state: str
    reason: str | None
    outcome: str | None
    score: float | None
    version: str | None
    classified_at: float | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A comment to be stored; its text and author have been checked."""

    post: str
    author: str
    text: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter said: ``outcome`` is ``ham``, ``spam``, or ``refused`` (then without score and version)."""

    comment_id: str
    outcome: str
    score: float | None = None
    version: str | None = None
