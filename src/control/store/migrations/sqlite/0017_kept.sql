-- Those that are not revoked, by account and signal: counted before another one is made. Revoked ones stay for ever, and an
-- account may make and revoke as many as it likes.
CREATE INDEX shipping_tokens_kept ON shipping_tokens (account_id, signal) WHERE revoked_at IS NULL;
