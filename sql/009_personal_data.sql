-- Personal data is sealed by the application: each tenant's keysets, and a look-up of calls by a keyed hash.
-- The columns stay: `details`, `transcript`, `analysis` of call_records, `event` and `next_event` of stage_runs, `event`
-- of dead_letters hold `sealed:1:…` from now on, and plain JSON in rows from before.

-- A tenant's keys, wrapped by Cloud KMS. `wrapped` is NULL once they were destroyed: no new ones are made then.
CREATE TABLE tenant_keysets (
  tenant_id STRING(40) NOT NULL,
  purpose STRING(16) NOT NULL,
  wrapped STRING(MAX),
  version INT64 NOT NULL,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  destroyed_at TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT tenant_keysets_purpose CHECK (purpose IN ('data', 'lookup')),
) PRIMARY KEY (tenant_id, purpose),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION;

-- Keyed hash of the caller's number, under the tenant's lookup keyset. NULL for withheld numbers and older rows.
ALTER TABLE call_records ADD COLUMN caller_hash STRING(32);

-- Set when a person asked to be forgotten: the row stays as a tombstone, so that no late webhook brings the call back.
ALTER TABLE call_records ADD COLUMN erased_at TIMESTAMP OPTIONS (allow_commit_timestamp = true);

-- Which calls are of this person?
CREATE NULL_FILTERED INDEX call_records_by_caller ON call_records (tenant_id, caller_hash);

-- only: spanner
GRANT SELECT (tenant_id, purpose, wrapped, version) ON TABLE tenant_keysets
  TO ROLE download, transcribe, analyze, crm_sync, dead_letter, operator;

-- only: spanner
-- Who records dead letters makes the keyset of those that belong to nobody.
GRANT INSERT (tenant_id, purpose, wrapped, version, created_at, updated_at) ON TABLE tenant_keysets
  TO ROLE dead_letter, operator;

-- only: spanner
-- An event is sealed for its call: the sweeper must know which.
GRANT SELECT (call_id) ON TABLE stage_runs TO ROLE operator;

-- only: spanner
-- Whoever reads a call must see that it is a tombstone.
GRANT SELECT (erased_at) ON TABLE call_records TO ROLE download, transcribe, analyze, crm_sync;

-- only: spanner
GRANT INSERT (caller_hash), UPDATE (caller_hash) ON TABLE call_records TO ROLE download;
