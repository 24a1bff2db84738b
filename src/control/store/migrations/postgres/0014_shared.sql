-- What an account shows of its usage to those who have no other way in. A filter's field and value never change, and one
-- that a living token names stays: what a token shows is what its own row says. `filters` are ids with blanks between.
CREATE TABLE shared_filters (
    id          BIGINT PRIMARY KEY,
    account_id  BIGINT NOT NULL REFERENCES accounts (id),
    field       TEXT NOT NULL,
    value       TEXT NOT NULL,
    description TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX shared_filters_by_account ON shared_filters (account_id, id);

-- `expires_at` is seconds since 1970, 0 = never. Rows stay for ever.
CREATE TABLE shared_tokens (
    id           BIGINT PRIMARY KEY,
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL,
    digest       BYTEA NOT NULL UNIQUE,
    sealed       BYTEA NOT NULL,
    joined_by    TEXT NOT NULL,
    filters      TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT,
    deleted_at   BIGINT
);
CREATE INDEX shared_tokens_by_account ON shared_tokens (account_id, id);

INSERT INTO counters (name, value) VALUES ('shared_token', 0), ('shared_filter', 0);

-- What the compatible routes keep of an account for their callers: JSON that means nothing to gateways.
ALTER TABLE accounts ADD COLUMN kept TEXT NOT NULL DEFAULT '{}';
-- Who made a token and who changed it last stands in the audit log, at the token's own times.
CREATE INDEX audit_by_subject ON audit (subject, at);
