-- Times are milliseconds since 1970; expires_at is seconds since 1970, 0 = never, as the feed has it.
-- `sealed` columns hold XChaCha20-Poly1305 text bound to their row.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Ids are never used twice, and revisions have no gap: both come from rows here, inside the transaction that uses them.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value)
VALUES ('revision', 0), ('destination', 0), ('account', 0), ('token', 0), ('api_token', 0), ('audit', 0);

CREATE TABLE destinations (
    id         BIGINT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    settings   TEXT NOT NULL,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL
);

CREATE TABLE accounts (
    id                  BIGINT PRIMARY KEY,
    name                TEXT NOT NULL,
    suspended           BOOLEAN NOT NULL,
    limits              TEXT NOT NULL,
    logs_destination    BIGINT REFERENCES destinations (id),
    metrics_destination BIGINT REFERENCES destinations (id),
    traces_destination  BIGINT REFERENCES destinations (id),
    created_at          BIGINT NOT NULL,
    revision            BIGINT NOT NULL,
    deleted_at          BIGINT
);
CREATE UNIQUE INDEX accounts_by_name ON accounts (name) WHERE deleted_at IS NULL;

-- Rows stay for ever: a revoked token is a tombstone, a deleted one a hidden tombstone.
CREATE TABLE shipping_tokens (
    id         BIGINT PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    signal     TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     BYTEA NOT NULL UNIQUE,
    sealed     BYTEA NOT NULL,
    enabled    BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    deleted_at BIGINT,
    -- The token that a rotation made instead; set once.
    replaced_by BIGINT REFERENCES shipping_tokens (id),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL
);
-- With the id, so that a page of a filtered list is one range of an index.
CREATE INDEX shipping_tokens_by_account ON shipping_tokens (account_id, id);
CREATE INDEX shipping_tokens_by_signal ON shipping_tokens (signal, id);
CREATE INDEX shipping_tokens_by_name ON shipping_tokens (name, id);

CREATE TABLE api_tokens (
    id         BIGINT PRIMARY KEY,
    name       TEXT NOT NULL,
    digest     BYTEA NOT NULL UNIQUE,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- One row per commit. The delta is sealed whole: it may carry a destination's credentials.
CREATE TABLE changes (
    revision BIGINT PRIMARY KEY,
    delta    BYTEA NOT NULL,
    at       BIGINT NOT NULL
);

-- Append-only; each row's hash covers its fields and the hash before it.
CREATE TABLE audit (
    seq       BIGINT PRIMARY KEY,
    revision  BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    old_state TEXT,
    new_state TEXT,
    previous  BYTEA NOT NULL,
    hash      BYTEA NOT NULL
);
