-- Drops every tenant's keys: whatever was sealed can never be read again. Before it, copy tenant_keysets or open the
-- rows with `pipeline keys`; docs/security/personal-data.md.
-- only: spanner
REVOKE SELECT (erased_at) ON TABLE call_records FROM ROLE download, transcribe, analyze, crm_sync;

-- only: spanner
REVOKE INSERT (caller_hash), UPDATE (caller_hash) ON TABLE call_records FROM ROLE download;

-- only: spanner
REVOKE INSERT (tenant_id, purpose, wrapped, version, created_at, updated_at) ON TABLE tenant_keysets
  FROM ROLE dead_letter, operator;

-- only: spanner
REVOKE SELECT (call_id) ON TABLE stage_runs FROM ROLE operator;

-- only: spanner
REVOKE SELECT (tenant_id, purpose, wrapped, version) ON TABLE tenant_keysets
  FROM ROLE download, transcribe, analyze, crm_sync, dead_letter, operator;

DROP INDEX call_records_by_caller;

ALTER TABLE call_records DROP COLUMN erased_at;
ALTER TABLE call_records DROP COLUMN caller_hash;
DROP TABLE tenant_keysets;
