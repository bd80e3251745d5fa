-- What backfill and reconciliation remember: the finished days of a backfill that was stopped, and a report per day.
-- Days are UTC.

-- Progress of an unfinished backfill; rows go when it comes to its end. A forgotten one is forgotten after a week.
CREATE TABLE backfill_days (
  tenant_id STRING(40) NOT NULL,
  day DATE NOT NULL,
  listed_from TIMESTAMP NOT NULL,
  listed_until TIMESTAMP NOT NULL,
  listed_calls INT64 NOT NULL,
  had_calls INT64 NOT NULL,
  never_seen_calls INT64 NOT NULL,
  never_started_calls INT64 NOT NULL,
  recovered_calls INT64 NOT NULL,
  finished_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT backfill_days_span CHECK (listed_from < listed_until),
  CONSTRAINT backfill_days_counts CHECK (
    had_calls >= 0 AND never_seen_calls >= 0 AND never_started_calls >= 0 AND recovered_calls >= 0
    AND listed_calls = had_calls + never_seen_calls + never_started_calls
  ),
) PRIMARY KEY (tenant_id, day),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(finished_at, INTERVAL 7 DAY));

-- The provider has N, we have N, missing 0, recovered k. The newest day is what operators ask for first.
CREATE TABLE reconciliation_reports (
  tenant_id STRING(40) NOT NULL,
  day DATE NOT NULL,
  state STRING(16) NOT NULL,
  provider_calls INT64 NOT NULL,
  our_calls INT64 NOT NULL,
  missing_calls INT64 NOT NULL,
  recovered_calls INT64 NOT NULL,
  waiting_calls INT64 NOT NULL,
  refused_calls INT64 NOT NULL,
  listed_until TIMESTAMP,
  error_code STRING(64),
  error_detail STRING(1000),
  error_fix STRING(1000),
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  looked_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT reconciliation_reports_state CHECK (state IN ('complete', 'open', 'blocked', 'failed')),
  CONSTRAINT reconciliation_reports_complete
    CHECK (state != 'complete' OR (missing_calls = 0 AND waiting_calls = 0 AND refused_calls = 0)),
  CONSTRAINT reconciliation_reports_counts CHECK (
    provider_calls >= 0 AND our_calls >= 0 AND missing_calls >= 0 AND recovered_calls >= 0 AND waiting_calls >= 0
    AND refused_calls >= 0
  ),
) PRIMARY KEY (tenant_id, day DESC),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 400 DAY));

-- only: spanner
GRANT SELECT, INSERT, UPDATE ON TABLE reconciliation_reports TO ROLE operator;
