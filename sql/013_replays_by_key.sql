-- A replay's moments are those of its commits: they are written by key, without a statement that could ask for the time.
ALTER TABLE dead_letters ALTER COLUMN replayed_at SET OPTIONS (allow_commit_timestamp = true);

ALTER TABLE dead_letters ALTER COLUMN closed_at SET OPTIONS (allow_commit_timestamp = true);

-- only: spanner
-- A mutation names its row's key.
GRANT UPDATE (dead_letter_id, tenant_id) ON TABLE dead_letters TO ROLE operator;
