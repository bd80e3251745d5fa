-- only: spanner
REVOKE UPDATE (request_id, stage, tenant_id) ON TABLE stage_runs FROM ROLE operator;

-- only: spanner
REVOKE UPDATE (request_id, tenant_id) ON TABLE processing_requests FROM ROLE operator;

-- only: spanner
GRANT SELECT (request_id, tenant_id) ON TABLE processing_requests TO ROLE transcribe, analyze;

-- only: spanner
GRANT
  SELECT (activity_id, activity_type, call_id, person_created, person_id, person_type, provider, synced_at, tenant_id)
  ON TABLE crm_syncs TO ROLE download, transcribe, analyze;
