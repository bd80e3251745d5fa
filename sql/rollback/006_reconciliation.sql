-- only: spanner
REVOKE SELECT, INSERT, UPDATE ON TABLE reconciliation_reports FROM ROLE operator;

DROP TABLE reconciliation_reports;
DROP TABLE backfill_days;
