-- Links that were taken back: a late retry of the request that made one makes no other.
CREATE TABLE IF NOT EXISTS revoked_links (
    code VARBINARY(255) NOT NULL,
    `group` BIGINT NOT NULL,
    creator BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    uses_max BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    PRIMARY KEY (creator, request)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
