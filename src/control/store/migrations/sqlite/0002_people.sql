-- A sub-account has a parent; what it has not set itself comes from there: a limit that is missing in `limits`, a
-- destination that is marked as inherited. Accounts of the first schema stand alone and have no bounds.
ALTER TABLE accounts ADD COLUMN parent_id BIGINT REFERENCES accounts (id);
ALTER TABLE accounts ADD COLUMN accessible BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE accounts ADD COLUMN plan TEXT NOT NULL DEFAULT 'unlimited';
-- Seconds since 1970; of a trial alone.
ALTER TABLE accounts ADD COLUMN trial_until BIGINT;
ALTER TABLE accounts ADD COLUMN suspended_reason TEXT;
ALTER TABLE accounts ADD COLUMN logs_inherited BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN metrics_inherited BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN traces_inherited BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX accounts_by_parent ON accounts (parent_id, id);

-- A token without an account is an operator's. Times of use are coarse.
ALTER TABLE api_tokens ADD COLUMN account_id BIGINT REFERENCES accounts (id);
ALTER TABLE api_tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT 'read tokens accounts';
ALTER TABLE api_tokens ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_tokens ADD COLUMN created_by TEXT NOT NULL DEFAULT 'first start';
ALTER TABLE api_tokens ADD COLUMN last_used_at BIGINT;
CREATE INDEX api_tokens_by_account ON api_tokens (account_id, id);

-- A user without an account is an operator. The password is an argon2id string.
CREATE TABLE users (
    id         BIGINT PRIMARY KEY,
    account_id BIGINT REFERENCES accounts (id),
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    password   TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX users_by_account ON users (account_id, id);
INSERT INTO counters (name, value) VALUES ('user', 0);

-- Only the digest of what the cookie holds.
CREATE TABLE sessions (
    digest     BLOB PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users (id),
    address    TEXT,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

-- Where a change came from, and the account it concerns. The hash covers them where there are any, so that records of
-- the first schema, which have none, stay valid.
ALTER TABLE audit ADD COLUMN address TEXT;
ALTER TABLE audit ADD COLUMN account_id BIGINT;
CREATE INDEX audit_by_account ON audit (account_id, seq);
