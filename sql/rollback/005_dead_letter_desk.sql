-- only: spanner
REVOKE UPDATE (event) ON TABLE stage_runs FROM ROLE operator;

-- only: spanner
REVOKE INSERT ON TABLE processing_requests FROM ROLE operator;

-- only: spanner
REVOKE SELECT, INSERT, UPDATE ON TABLE replay_jobs, replay_items FROM ROLE operator;

-- only: spanner
REVOKE SELECT, INSERT ON TABLE dead_letter_failures FROM ROLE operator;

-- What 002 granted is granted again below: a privilege is one, however often it was given.
-- only: spanner
REVOKE SELECT, INSERT, UPDATE ON TABLE dead_letters FROM ROLE operator;

-- only: spanner
GRANT SELECT ON TABLE dead_letters TO ROLE operator;

-- only: spanner
GRANT UPDATE (tenant_id, dead_letter_id, state, replays, note, updated_at) ON TABLE dead_letters TO ROLE operator;

-- only: spanner
REVOKE INSERT ON TABLE audit_log FROM ROLE dead_letter;

-- only: spanner
REVOKE SELECT, INSERT ON TABLE dead_letter_failures FROM ROLE dead_letter;

DROP INDEX audit_log_by_target;
DROP INDEX replay_items_by_job;
DROP TABLE replay_items;
DROP INDEX replay_jobs_by_time;
DROP TABLE replay_jobs;
DROP TABLE dead_letter_failures;
DROP INDEX dead_letters_by_request;
ALTER TABLE dead_letters REPLACE ROW DELETION POLICY (OLDER_THAN(updated_at, INTERVAL 400 DAY));
ALTER TABLE dead_letters DROP COLUMN kept_until;
ALTER TABLE dead_letters DROP COLUMN copy_of;
ALTER TABLE dead_letters DROP COLUMN discard_reason;
ALTER TABLE dead_letters DROP COLUMN closed_at;
ALTER TABLE dead_letters DROP COLUMN replayed_by;
ALTER TABLE dead_letters DROP COLUMN replayed_at;
ALTER TABLE dead_letters DROP COLUMN failed_at;
ALTER TABLE dead_letters DROP COLUMN current_request_id;
