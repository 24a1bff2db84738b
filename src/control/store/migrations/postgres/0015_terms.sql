-- Counts the changes of a row, each in the statement that makes it: `revision` is written when a commit ends, which is too
-- late for two changes in one commit to be told apart.
ALTER TABLE accounts ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE destinations ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE shipping_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE shared_filters ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE shared_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- What creations under an Idempotency-Key were answered with, for a day: whoever asks again gets the same. `digest` is of
-- the caller and the key, `account_id` whose account it was made for (none: the operators'), `revision` 0 where gateways need
-- not know; `sealed` holds a hash of the request, and the answer, which may have a token in it.
CREATE TABLE answers (
    digest     BYTEA PRIMARY KEY,
    account_id BIGINT,
    revision   BIGINT NOT NULL,
    sealed     BYTEA NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX answers_by_age ON answers (at);
