-- only: spanner
REVOKE UPDATE (dead_letter_id, tenant_id) ON TABLE dead_letters FROM ROLE operator;

ALTER TABLE dead_letters ALTER COLUMN closed_at SET OPTIONS (allow_commit_timestamp = null);

ALTER TABLE dead_letters ALTER COLUMN replayed_at SET OPTIONS (allow_commit_timestamp = null);
