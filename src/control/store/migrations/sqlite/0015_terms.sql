-- Counts the changes of a row, each in the statement that makes it: `revision` is written when a commit ends, which is too
-- late for two changes in one commit to be told apart.
ALTER TABLE accounts ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE destinations ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE shipping_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
