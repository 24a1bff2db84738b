-- How fast a token's payloads may come: a JSON object of those rates and bursts that there are.
ALTER TABLE shipping_tokens ADD COLUMN rates TEXT NOT NULL DEFAULT '{}';
