-- What people write about a token, and the networks that it is good from: CIDR ranges with a blank between two; empty for
-- anywhere.
ALTER TABLE shipping_tokens ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE shipping_tokens ADD COLUMN sources TEXT NOT NULL DEFAULT '';

-- Those that open something, by account: counted before many of them are taken away at once. Every column that the count
-- looks at stands in it.
CREATE INDEX shipping_tokens_live ON shipping_tokens (account_id, expires_at, enabled, revoked_at)
WHERE enabled AND revoked_at IS NULL;
