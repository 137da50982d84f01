-- Ids are below 2^63; times are milliseconds since 1970. A revision is given to every change in the order of commits,
-- and to one conversation only.

-- The last revision given, unless the last one is an entry's: the largest of both counts.
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO clock (id, revision) VALUES (1, 0);

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    user INTEGER NOT NULL,
    device TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    -- When the newest refresh token ends.
    refresh_expires_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user);
CREATE INDEX sessions_by_end ON sessions (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (refresh_expires_ms);

CREATE TABLE refresh_tokens (
    hash BLOB PRIMARY KEY,
    session INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    -- The request that used it up, and the token which that request made.
    used_by BLOB,
    successor BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_ms);

CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    request BLOB NOT NULL,
    creator INTEGER NOT NULL,
    title TEXT NOT NULL,
    join_policy INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (request, creator)
) STRICT;

CREATE TABLE last_seen (
    user INTEGER PRIMARY KEY,
    seen_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    -- As in mpim.client.v1.ConversationKind.
    kind INTEGER NOT NULL,
    -- A direct conversation's users, the smaller id first.
    user_a INTEGER,
    user_b INTEGER,
    -- How many members there are.
    members INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX conversations_by_users ON conversations (user_a, user_b) WHERE user_a IS NOT NULL;

-- By user first, so that all that a user's heads need lies side by side. Kind and peer never change; they are here so
-- that the heads need not look into `conversations`.
CREATE TABLE members (
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    -- DIRECT: the other user, or the user if there is no other.
    peer INTEGER,
    role INTEGER NOT NULL,
    read_position INTEGER NOT NULL,
    -- When this row last changed.
    revision INTEGER NOT NULL,
    PRIMARY KEY (user, conversation)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_conversation ON members (conversation, user, role);

-- In the order of arrival, so that an append touches few pages: the table's end, the end of `entries_by_id` (client ids
-- begin with the time), and one page of `entries_by_position`.
CREATE TABLE entries (
    revision INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    -- How many of the log's entries up to this one are messages: unread counts are differences of two of these.
    messages INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    id BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_position ON entries (conversation, position);
CREATE UNIQUE INDEX entries_by_id ON entries (id, sender);

CREATE TABLE effects (
    revision INTEGER PRIMARY KEY,
    user INTEGER NOT NULL,
    id BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;
