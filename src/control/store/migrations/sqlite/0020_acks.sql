-- When gateways may answer success for it: destination, spool or spill; none is the default of each signal.
ALTER TABLE destinations ADD COLUMN ack TEXT;
