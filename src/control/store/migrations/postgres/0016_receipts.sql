-- When a request with the token was last accepted, in milliseconds since 1970; 0 = never, as far as gateways have told.
ALTER TABLE token_uses ADD COLUMN last_accepted_at BIGINT NOT NULL DEFAULT 0;

-- The stream that speaks for the gateway, at whichever control plane; 0 = it has none.
ALTER TABLE gateways ADD COLUMN holder BIGINT NOT NULL DEFAULT 0;
