-- only: spanner
-- Stages before the last one read a call's own row by its key, and nothing of what the CRMs know.
REVOKE
  SELECT (activity_id, activity_type, call_id, person_created, person_id, person_type, provider, synced_at, tenant_id)
  ON TABLE crm_syncs FROM ROLE download, transcribe, analyze;

-- only: spanner
-- Requests are changed by mutations, which name their key and look at nothing.
REVOKE SELECT (request_id, tenant_id) ON TABLE processing_requests FROM ROLE transcribe, analyze;

-- only: spanner
GRANT UPDATE (request_id, tenant_id) ON TABLE processing_requests TO ROLE operator;

-- only: spanner
GRANT UPDATE (request_id, stage, tenant_id) ON TABLE stage_runs TO ROLE operator;
