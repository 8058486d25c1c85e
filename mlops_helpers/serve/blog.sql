-- The blog's database, version 1 (PRAGMA user_version). Times are seconds since 1970-01-01 UTC.

CREATE TABLE posts (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    body TEXT NOT NULL,              -- paragraphs, separated by empty lines
    published_at REAL NOT NULL,
    comments INTEGER NOT NULL DEFAULT 0 CHECK (comments >= 0)  -- published ones: the trigger below counts
) STRICT;

CREATE TABLE comments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
    id TEXT NOT NULL UNIQUE CHECK (id GLOB 'c-*'),
    post TEXT NOT NULL REFERENCES posts (id),
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    created_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'published', 'held', 'rejected')),
    reason TEXT CHECK (reason IN ('spam', 'unclassified', 'refused', 'reported')),
    outcome TEXT CHECK (outcome IN ('ham', 'spam', 'refused')),  -- what the filter said; NULL: in the outbox
    score REAL CHECK (score BETWEEN 0 AND 1),
    version TEXT,
    classified_at REAL,
    CHECK ((state = 'held') = (reason IS NOT NULL)),
    CHECK ((outcome IS NULL) = (classified_at IS NULL)),
    CHECK ((coalesce(outcome, 'refused') = 'refused') = (score IS NULL)),
    CHECK ((score IS NULL) = (version IS NULL)),
    CHECK (state <> 'pending' OR outcome IS NULL)
) STRICT;

CREATE INDEX outbox ON comments (number) WHERE outcome IS NULL;
CREATE INDEX pending ON comments (created_at) WHERE state = 'pending';
CREATE INDEX queue ON comments (number) WHERE state = 'held';
CREATE INDEX published ON comments (post, number) WHERE state = 'published';

CREATE TABLE decisions (  -- of moderators: the delayed labels; of several on one comment the last holds
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    comment_id TEXT NOT NULL REFERENCES comments (id),
    label INTEGER NOT NULL CHECK (label IN (0, 1)),  -- 1: spam
    decided_at REAL NOT NULL,
    by TEXT NOT NULL
) STRICT;

CREATE INDEX decided ON decisions (comment_id, number);

CREATE TRIGGER a_verdict_is_final BEFORE UPDATE OF outcome ON comments WHEN old.outcome IS NOT NULL
BEGIN
    SELECT RAISE (ABORT, 'the comment has been classified before');
END;

CREATE TRIGGER count_published AFTER UPDATE OF state ON comments
WHEN (old.state = 'published') <> (new.state = 'published')
BEGIN
    UPDATE posts SET comments = comments + iif(new.state = 'published', 1, -1) WHERE id = new.post;
END;
