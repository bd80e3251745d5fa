-- A replay's moment is its commit's: it is written by key, without a statement that could ask the database's clock.
ALTER TABLE dead_letters ALTER COLUMN replayed_at SET OPTIONS (allow_commit_timestamp = true);

-- only: spanner
-- A mutation names its row's key.
GRANT UPDATE (dead_letter_id, tenant_id) ON TABLE dead_letters TO ROLE operator;
