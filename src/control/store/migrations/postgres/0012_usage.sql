-- Usage as gateways report it. `step` is the length of a bucket in milliseconds, `start` where it begins: a minute, an
-- hour and a day of the same request are written in one transaction, so that each sums up to the same.
CREATE TABLE usage (
    account_id      BIGINT NOT NULL,
    step            BIGINT NOT NULL,
    start           BIGINT NOT NULL,
    token_id        BIGINT NOT NULL,
    signal          TEXT NOT NULL,
    requests        BIGINT NOT NULL,
    items           BIGINT NOT NULL,
    bytes           BIGINT NOT NULL,
    delivered_items BIGINT NOT NULL,
    delivered_bytes BIGINT NOT NULL,
    PRIMARY KEY (account_id, step, start, token_id)
);
CREATE INDEX usage_by_age ON usage (step, start);

CREATE TABLE usage_refused (
    account_id BIGINT NOT NULL,
    step       BIGINT NOT NULL,
    start      BIGINT NOT NULL,
    token_id   BIGINT NOT NULL,
    signal     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    requests   BIGINT NOT NULL,
    PRIMARY KEY (account_id, step, start, token_id, reason)
);
CREATE INDEX usage_refused_by_age ON usage_refused (step, start);

-- The last report applied of each process of each gateway; written in the transaction that applies it.
-- An epoch is 64 random bits, kept as hexadecimal text: half of them don't fit into a BIGINT.
CREATE TABLE usage_reports (
    gateway  TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (gateway, epoch)
);

-- When and by whom each token was last used; `senders` is JSON, the latest five, the latest first.
CREATE TABLE token_uses (
    token_id     BIGINT PRIMARY KEY,
    last_used_at BIGINT NOT NULL,
    senders      TEXT NOT NULL
);
