-- A control plane that still runs may have written a claim that is not committed yet.
LOCK TABLE usage_reports IN ACCESS EXCLUSIVE MODE;
-- The last report applied of each process of a gateway, whatever that is called: an epoch is 64 random bits, and its counts
-- count once, also where the gateway has got another name meanwhile.
CREATE TABLE usage_epochs (
    epoch    TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    at       BIGINT NOT NULL
);
INSERT INTO usage_epochs (epoch, sequence, at)
    SELECT epoch, max(sequence), max(at) FROM usage_reports GROUP BY epoch;
DROP TABLE usage_reports;
