-- Profiles, contacts, groups with roles, what is done to messages, bots and webhooks.

ALTER TABLE users ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
-- What the display name is found by: UserName's key; NULL: none.
ALTER TABLE users ADD COLUMN display_key TEXT;
ALTER TABLE users ADD COLUMN avatar TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN status_line TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT '';
-- A bot's owner, and the request that made it.
ALTER TABLE users ADD COLUMN owner INTEGER;
ALTER TABLE users ADD COLUMN request BLOB;
ALTER TABLE users ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
-- When the name was last changed.
ALTER TABLE users ADD COLUMN renamed_ms INTEGER;
CREATE INDEX users_by_display_key ON users (display_key) WHERE display_key IS NOT NULL;
CREATE INDEX users_by_rename ON users (renamed_ms) WHERE renamed_ms IS NOT NULL;
CREATE UNIQUE INDEX users_by_owner ON users (owner, request) WHERE owner IS NOT NULL;

-- Names that were given up, so that nobody takes them at once.
CREATE TABLE former_names (
    name_key TEXT PRIMARY KEY,
    user INTEGER NOT NULL,
    given_up_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    bot INTEGER NOT NULL,
    request BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    label TEXT NOT NULL,
    scopes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    -- 0: never.
    expires_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    UNIQUE (bot, request)
) STRICT;

CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY,
    bot INTEGER NOT NULL,
    request BLOB NOT NULL,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    cursor TEXT NOT NULL,
    last_error TEXT NOT NULL DEFAULT '',
    UNIQUE (bot, request)
) STRICT;

CREATE TABLE webhook_positions (
    webhook INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (webhook, conversation)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    webhook INTEGER NOT NULL,
    id INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    redeliver INTEGER NOT NULL,
    PRIMARY KEY (webhook, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE incoming_webhooks (
    id INTEGER PRIMARY KEY,
    bot INTEGER NOT NULL,
    request BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    conversation INTEGER NOT NULL,
    label TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (bot, request)
) STRICT;

CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    request BLOB NOT NULL,
    reporter INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    text TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    -- A message: where it was, and its encoded entry.
    conversation INTEGER,
    entry BLOB,
    closed INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    UNIQUE (request, reporter)
) STRICT;

ALTER TABLE groups ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN avatar TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN announcement TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN admins_invite INTEGER NOT NULL DEFAULT 0;

CREATE TABLE join_requests (
    "group" INTEGER NOT NULL,
    user INTEGER NOT NULL,
    message TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY ("group", user)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_links (
    code TEXT PRIMARY KEY,
    "group" INTEGER NOT NULL,
    creator INTEGER NOT NULL,
    request BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    -- 0: never.
    expires_ms INTEGER NOT NULL,
    -- 0: any number.
    uses_max INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    UNIQUE (creator, request)
) STRICT;
CREATE INDEX group_links_by_group ON group_links ("group");

-- Who used a link, so that a retry counts once.
CREATE TABLE link_uses (
    code TEXT NOT NULL,
    user INTEGER NOT NULL,
    PRIMARY KEY (code, user)
) STRICT, WITHOUT ROWID;

-- GROUP: only owner and admins write; nothing is written any more. They are here, rather than with the groups, as every
-- append looks at them.
ALTER TABLE conversations ADD COLUMN muted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN dissolved INTEGER NOT NULL DEFAULT 0;

ALTER TABLE members ADD COLUMN delivered_position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN nickname TEXT NOT NULL DEFAULT '';
ALTER TABLE members ADD COLUMN muted_until_ms INTEGER NOT NULL DEFAULT 0;
-- DIRECT: the log's end when the member blocked the other; what the other is told of this member's reading ends there.
ALTER TABLE members ADD COLUMN blocked_at INTEGER;
CREATE INDEX members_with_role ON members (conversation, user) WHERE role > 0;

CREATE TABLE bans (
    conversation INTEGER NOT NULL,
    user INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) STRICT, WITHOUT ROWID;

-- The number of the content's kind.
ALTER TABLE entries ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
-- A change: the position of the message that it changes.
ALTER TABLE entries ADD COLUMN target INTEGER;
-- DIRECT: the other had blocked the sender, and never sees it.
ALTER TABLE entries ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;
CREATE INDEX entries_by_target ON entries (conversation, target) WHERE target IS NOT NULL;

-- User 0: everyone.
CREATE TABLE mentions (
    conversation INTEGER NOT NULL,
    user INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (conversation, user, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX mentions_by_message ON mentions (conversation, position);

CREATE TABLE pins (
    conversation INTEGER NOT NULL,
    target INTEGER NOT NULL,
    -- The entry that pinned it.
    position INTEGER NOT NULL,
    PRIMARY KEY (conversation, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    user INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    friend INTEGER NOT NULL,
    -- As in mpim.client.v1.FriendRequest.
    request INTEGER NOT NULL,
    message TEXT NOT NULL,
    remark TEXT NOT NULL,
    blocked INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (user, peer)
) STRICT, WITHOUT ROWID;

-- Users without a row have the defaults.
CREATE TABLE user_settings (
    user INTEGER PRIMARY KEY,
    write_policy INTEGER NOT NULL,
    invisible INTEGER NOT NULL
) STRICT;

-- What a user has made of a conversation for the user alone.
CREATE TABLE own_views (
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    -- Encoded ConversationSettings and Draft.
    settings BLOB,
    draft BLOB,
    -- The entry of the personal log that told the draft.
    draft_position INTEGER,
    deleted_up_to INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, conversation)
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_entries (
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user, conversation, position)
) STRICT, WITHOUT ROWID;

-- What an effect does to a contact in the personal log that it is told in: the other user. NULL: it only tells.
ALTER TABLE effects ADD COLUMN peer INTEGER;
