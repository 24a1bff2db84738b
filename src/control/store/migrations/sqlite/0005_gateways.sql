-- Every gateway that has followed the feed and was not retired: what is not connected counts as not enforcing.
CREATE TABLE gateways (
    name         TEXT PRIMARY KEY,
    -- Drawn once by the gateway, kept in its data folder: two of one name are told apart.
    instance     TEXT NOT NULL,
    version      TEXT NOT NULL,
    -- Acknowledged when it was last seen.
    revision     BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL
);
