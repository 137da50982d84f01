-- Ids are below 2^63; times are milliseconds since 1970. Every statement may be run again: what was interrupted goes on.
-- Keys of names and links are bytes, so that nothing is equal but what is the same.

-- One row: the last revision given. Whoever changes what heads show takes it last, and holds it until the commit, so that
-- revisions are given in the order of commits.
CREATE TABLE IF NOT EXISTS clock (
    id TINYINT PRIMARY KEY,
    revision BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO clock (id, revision) VALUES (1, 0);

CREATE TABLE IF NOT EXISTS users (
    id BIGINT PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    name_key VARBINARY(1024) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_ms BIGINT NOT NULL,
    display_name VARCHAR(1024) NOT NULL DEFAULT '',
    -- What the display name is found by: UserName's key; NULL: none.
    display_key VARBINARY(1024),
    avatar VARCHAR(4096) NOT NULL DEFAULT '',
    status_line VARCHAR(4096) NOT NULL DEFAULT '',
    language VARCHAR(255) NOT NULL DEFAULT '',
    -- A bot's owner, and the request that made it.
    owner BIGINT,
    request BINARY(16),
    suspended TINYINT NOT NULL DEFAULT 0,
    deleted TINYINT NOT NULL DEFAULT 0,
    -- When the name was last changed.
    renamed_ms BIGINT,
    UNIQUE KEY users_by_name (name_key),
    KEY users_by_display_key (display_key, id),
    KEY users_by_rename (renamed_ms),
    UNIQUE KEY users_by_owner (owner, request)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Names that were given up, so that nobody takes them at once.
CREATE TABLE IF NOT EXISTS former_names (
    name_key VARBINARY(1024) PRIMARY KEY,
    user BIGINT NOT NULL,
    given_up_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS sessions (
    id BIGINT PRIMARY KEY,
    user BIGINT NOT NULL,
    device TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    -- When the newest refresh token ends.
    refresh_expires_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    KEY sessions_by_user (user),
    KEY sessions_by_end (ended_ms),
    KEY sessions_by_expiry (refresh_expires_ms)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash BINARY(32) PRIMARY KEY,
    session BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- The request that used it up, and the token which that request made.
    used_by BINARY(16),
    successor BINARY(32),
    KEY refresh_tokens_by_session (session),
    KEY refresh_tokens_by_expiry (expires_ms)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS api_keys (
    id BIGINT PRIMARY KEY,
    bot BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    hash BINARY(32) NOT NULL,
    label TEXT NOT NULL,
    scopes BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- 0: never.
    expires_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    UNIQUE KEY api_keys_by_hash (hash),
    UNIQUE KEY api_keys_by_request (bot, request),
    KEY api_keys_by_end (ended_ms)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS webhooks (
    id BIGINT PRIMARY KEY,
    bot BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    `cursor` TEXT NOT NULL,
    last_error TEXT NOT NULL,
    UNIQUE KEY webhooks_by_request (bot, request)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS webhook_positions (
    webhook BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (webhook, conversation)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS dead_letters (
    webhook BIGINT NOT NULL,
    id BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    position BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    error TEXT NOT NULL,
    redeliver TINYINT NOT NULL,
    PRIMARY KEY (webhook, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS incoming_webhooks (
    id BIGINT PRIMARY KEY,
    bot BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    hash BINARY(32) NOT NULL,
    conversation BIGINT NOT NULL,
    label TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE KEY incoming_webhooks_by_hash (hash),
    UNIQUE KEY incoming_webhooks_by_request (bot, request)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS reports (
    id BIGINT PRIMARY KEY,
    request BINARY(16) NOT NULL,
    reporter BIGINT NOT NULL,
    reported BIGINT NOT NULL,
    reason INT NOT NULL,
    text MEDIUMTEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    -- A message: where it was, and its encoded entry.
    conversation BIGINT,
    entry MEDIUMBLOB,
    closed TINYINT NOT NULL DEFAULT 0,
    note TEXT NOT NULL,
    UNIQUE KEY reports_by_request (request, reporter)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `groups` (
    id BIGINT PRIMARY KEY,
    request BINARY(16) NOT NULL,
    creator BIGINT NOT NULL,
    title TEXT NOT NULL,
    description MEDIUMTEXT NOT NULL,
    avatar TEXT NOT NULL,
    announcement MEDIUMTEXT NOT NULL,
    join_policy INT NOT NULL,
    admins_invite TINYINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL,
    UNIQUE KEY groups_by_request (request, creator)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS join_requests (
    `group` BIGINT NOT NULL,
    user BIGINT NOT NULL,
    message TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (`group`, user)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS group_links (
    code VARBINARY(255) PRIMARY KEY,
    `group` BIGINT NOT NULL,
    creator BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    created_ms BIGINT NOT NULL,
    -- 0: never.
    expires_ms BIGINT NOT NULL,
    -- 0: any number.
    uses_max BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    UNIQUE KEY group_links_by_request (creator, request),
    KEY group_links_by_group (`group`)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Who used a link, so that a retry counts once.
CREATE TABLE IF NOT EXISTS link_uses (
    code VARBINARY(255) NOT NULL,
    user BIGINT NOT NULL,
    PRIMARY KEY (code, user)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS last_seen (
    user BIGINT PRIMARY KEY,
    seen_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The logs. Whoever appends locks the rows of the logs concerned, in the order of their ids, before anything else.
CREATE TABLE IF NOT EXISTS conversations (
    id BIGINT PRIMARY KEY,
    -- As in mpim.client.v1.ConversationKind.
    kind TINYINT NOT NULL,
    -- A direct conversation's users, the smaller id first.
    user_a BIGINT,
    user_b BIGINT,
    -- How many members there are.
    members BIGINT NOT NULL,
    -- GROUP: only owner and admins write; nothing is written any more.
    muted TINYINT NOT NULL DEFAULT 0,
    dissolved TINYINT NOT NULL DEFAULT 0,
    -- The last entry's position, and how many of the entries are messages that count.
    position BIGINT NOT NULL DEFAULT 0,
    messages BIGINT NOT NULL DEFAULT 0,
    -- When an entry was last appended.
    revision BIGINT NOT NULL DEFAULT 0,
    -- How often something in the log was erased: a replica that has erased less shows too much.
    erasures BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY conversations_by_users (user_a, user_b)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- By user first, so that all that a user's heads need lies side by side. Kind and peer never change; they are here so
-- that the heads need not look for them.
CREATE TABLE IF NOT EXISTS members (
    user BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    kind TINYINT NOT NULL DEFAULT 0,
    -- DIRECT: the other user, or the user if there is no other.
    peer BIGINT,
    role TINYINT NOT NULL DEFAULT 0,
    read_position BIGINT NOT NULL DEFAULT 0,
    delivered_position BIGINT NOT NULL DEFAULT 0,
    -- When this row last changed in what heads show, without an entry that tells it.
    revision BIGINT NOT NULL DEFAULT 0,
    nickname VARCHAR(1024) NOT NULL DEFAULT '',
    muted_until_ms BIGINT NOT NULL DEFAULT 0,
    -- DIRECT: the log's end when the member blocked the other; what the other is told of this member's reading ends there.
    blocked_at BIGINT,
    PRIMARY KEY (user, conversation),
    KEY members_by_conversation (conversation, user),
    KEY members_by_role (conversation, role, user)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS bans (
    conversation BIGINT NOT NULL,
    user BIGINT NOT NULL,
    PRIMARY KEY (conversation, user)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Until when users are muted in groups that they are no members of (at the moment): whoever enters brings it along. A
-- member's is in the member's row.
CREATE TABLE IF NOT EXISTS mutes (
    conversation BIGINT NOT NULL,
    user BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (conversation, user),
    KEY of_user (user)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS entries (
    conversation BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- How many of the log's entries up to this one are messages: unread counts are differences of two of these.
    messages BIGINT NOT NULL,
    sender BIGINT NOT NULL,
    id BINARY(16) NOT NULL,
    time_ms BIGINT NOT NULL,
    -- The number of the content's kind.
    kind INT NOT NULL,
    -- DIRECT: the other had blocked the sender, and never sees it.
    withheld TINYINT NOT NULL,
    content MEDIUMBLOB NOT NULL,
    PRIMARY KEY (conversation, position),
    -- Client ids begin with the time: new ones lie side by side.
    UNIQUE KEY entries_by_id (id, sender)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Which entries change a message: a table of its own, as most entries change none.
CREATE TABLE IF NOT EXISTS changes (
    conversation BIGINT NOT NULL,
    target BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (conversation, target, position)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- User 0: everyone.
CREATE TABLE IF NOT EXISTS mentions (
    conversation BIGINT NOT NULL,
    user BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (conversation, user, position),
    KEY mentions_by_message (conversation, position)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS pins (
    conversation BIGINT NOT NULL,
    target BIGINT NOT NULL,
    -- The entry that pinned it.
    position BIGINT NOT NULL,
    PRIMARY KEY (conversation, target)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What is to be told in personal logs. Numbers are given in the order of inserts; two effects whose order matters come from
-- one log, or one after the other.
CREATE TABLE IF NOT EXISTS effects (
    number BIGINT PRIMARY KEY AUTO_INCREMENT,
    user BIGINT NOT NULL,
    id BINARY(16) NOT NULL,
    time_ms BIGINT NOT NULL,
    content MEDIUMBLOB NOT NULL,
    -- What it does to a contact in the personal log that it is told in: the other user. NULL: it only tells.
    peer BIGINT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
-- TiDB gives numbers in the order of inserts only if asked to; for the others this is a comment.
/*T![auto_id_cache] AUTO_ID_CACHE = 1 */;

CREATE TABLE IF NOT EXISTS contacts (
    user BIGINT NOT NULL,
    peer BIGINT NOT NULL,
    friend TINYINT NOT NULL,
    -- As in mpim.client.v1.FriendRequest.
    request TINYINT NOT NULL,
    message TEXT NOT NULL,
    remark TEXT NOT NULL,
    blocked TINYINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (user, peer)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Users without a row have the defaults.
CREATE TABLE IF NOT EXISTS user_settings (
    user BIGINT PRIMARY KEY,
    write_policy INT NOT NULL,
    invisible TINYINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What a user has made of a conversation for the user alone.
CREATE TABLE IF NOT EXISTS own_views (
    user BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    -- Encoded ConversationSettings and Draft.
    settings BLOB,
    draft MEDIUMBLOB,
    -- The entry of the personal log that told the draft.
    draft_position BIGINT,
    deleted_up_to BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user, conversation)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS deleted_entries (
    user BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user, conversation, position)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
