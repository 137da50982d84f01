-- Links that were taken back: a late retry of the request that made one makes no other.
CREATE TABLE revoked_links (
    code TEXT NOT NULL,
    "group" INTEGER NOT NULL,
    creator INTEGER NOT NULL,
    request BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    uses_max INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (creator, request)
) STRICT, WITHOUT ROWID;
