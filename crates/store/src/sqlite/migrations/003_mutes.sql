-- Until when users are muted in groups that they are no members of (at the moment): whoever enters brings it along. A
-- member's is in the member's row.
CREATE TABLE mutes (
    conversation INTEGER NOT NULL,
    user INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) STRICT, WITHOUT ROWID;
