-- The dead-letter desk: every failure of a letter, who replayed it and what came of it, and until when it is kept.

-- A re-run goes on under a request of its own; the letter follows it. NULL in letters older than this migration.
ALTER TABLE dead_letters ADD COLUMN current_request_id STRING(64);

-- When the newest failure was published: an older message that comes late is no news.
ALTER TABLE dead_letters ADD COLUMN failed_at TIMESTAMP;

ALTER TABLE dead_letters ADD COLUMN replayed_at TIMESTAMP;

ALTER TABLE dead_letters ADD COLUMN replayed_by STRING(200);

ALTER TABLE dead_letters ADD COLUMN closed_at TIMESTAMP;

ALTER TABLE dead_letters ADD COLUMN discard_reason STRING(1000);

-- The letter whose event was edited to make this one.
ALTER TABLE dead_letters ADD COLUMN copy_of STRING(64);

-- When Spanner may remove the row: much sooner once it is discarded, and until then it can be restored.
ALTER TABLE dead_letters ADD COLUMN kept_until TIMESTAMP NOT NULL
  DEFAULT (TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 400 DAY));

ALTER TABLE dead_letters REPLACE ROW DELETION POLICY (OLDER_THAN(kept_until, INTERVAL 0 DAY));

-- Which letters belong to a request?
CREATE INDEX dead_letters_by_request ON dead_letters (tenant_id, current_request_id);

-- One row for each message that was recorded. The message's id makes recording it twice harmless.
CREATE TABLE dead_letter_failures (
  tenant_id STRING(40) NOT NULL,
  dead_letter_id STRING(64) NOT NULL,
  message_id STRING(64) NOT NULL,
  stage STRING(16) NOT NULL,
  reason STRING(64) NOT NULL,
  detail STRING(1000) NOT NULL,
  fix STRING(1000) NOT NULL,
  attempts INT64 NOT NULL,
  source STRING(16) NOT NULL,
  published_at TIMESTAMP,
  recorded_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT dead_letter_failures_source CHECK (source IN ('runner', 'pubsub')),
) PRIMARY KEY (tenant_id, dead_letter_id, message_id),
  INTERLEAVE IN PARENT dead_letters ON DELETE CASCADE;

-- A replay of one or many letters. It belongs to its tenant, or to `unassigned` when it reaches across tenants.
CREATE TABLE replay_jobs (
  tenant_id STRING(40) NOT NULL,
  job_id STRING(36) NOT NULL,
  state STRING(16) NOT NULL,
  actor STRING(200) NOT NULL,
  selection STRING(MAX) NOT NULL,
  options STRING(MAX) NOT NULL,
  tenants ARRAY<STRING(40)> NOT NULL,
  total INT64 NOT NULL,
  judged_steps INT64 NOT NULL,
  stop_reason STRING(500),
  lock_token STRING(36),
  lock_until TIMESTAMP,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  finished_at TIMESTAMP,
  CONSTRAINT replay_jobs_state CHECK (state IN ('waiting', 'running', 'stopped', 'finished')),
) PRIMARY KEY (tenant_id, job_id),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 400 DAY));

-- Which jobs were there lately?
CREATE INDEX replay_jobs_by_time ON replay_jobs (created_at DESC);

-- One letter's part in a replay: what was done with it, and what came of it.
CREATE TABLE replay_items (
  tenant_id STRING(40) NOT NULL,
  dead_letter_id STRING(64) NOT NULL,
  job_id STRING(36) NOT NULL,
  position INT64 NOT NULL,
  state STRING(16) NOT NULL,
  reason STRING(64),
  replay_number INT64,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT replay_items_state CHECK (state IN ('pending', 'sent', 'skipped', 'arrived', 'failed', 'parked')),
) PRIMARY KEY (tenant_id, dead_letter_id, job_id),
  INTERLEAVE IN PARENT dead_letters ON DELETE CASCADE;

CREATE INDEX replay_items_by_job ON replay_items (tenant_id, job_id, position) STORING (state, reason, replay_number);

-- What was done to a letter?
CREATE INDEX audit_log_by_target ON audit_log (tenant_id, target, occurred_at);

-- The recorder writes every failure down, and says in the audit log when a replay has failed.
-- only: spanner
GRANT SELECT, INSERT ON TABLE dead_letter_failures TO ROLE dead_letter;

-- only: spanner
GRANT INSERT ON TABLE audit_log TO ROLE dead_letter;

-- The operator replays, restores, copies, imports and drains; a re-run is a request of its own.
-- only: spanner
GRANT SELECT, INSERT, UPDATE ON TABLE dead_letters TO ROLE operator;

-- only: spanner
GRANT SELECT, INSERT ON TABLE dead_letter_failures TO ROLE operator;

-- only: spanner
GRANT SELECT, INSERT, UPDATE ON TABLE replay_jobs, replay_items TO ROLE operator;

-- only: spanner
GRANT INSERT ON TABLE processing_requests TO ROLE operator;

-- only: spanner
GRANT UPDATE (event) ON TABLE stage_runs TO ROLE operator;
