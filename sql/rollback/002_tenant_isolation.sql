-- only: spanner (whole file)
-- A role, a table and a column can be dropped only after every privilege on them was revoked: the grants, backwards.

REVOKE UPDATE (tenant_id, request_id, state, stage, updated_at) ON TABLE processing_requests FROM ROLE operator;
REVOKE UPDATE (tenant_id, request_id, stage, state, attempt, due_at, updated_at) ON TABLE stage_runs FROM ROLE operator;
REVOKE UPDATE (tenant_id, dead_letter_id, state, replays, note, updated_at) ON TABLE dead_letters FROM ROLE operator;
REVOKE INSERT ON TABLE audit_log FROM ROLE operator;
REVOKE SELECT ON TABLE
  call_records, crm_integrations, crm_syncs, processing_requests, stage_runs, usage_ledger, dead_letters, audit_log
  FROM ROLE operator;
REVOKE
  INSERT (tenant_id, name, status, config, created_at, updated_at),
  UPDATE (tenant_id, name, status, config, created_at, updated_at)
  ON TABLE tenants FROM ROLE dead_letter;
REVOKE SELECT, INSERT, UPDATE ON TABLE dead_letters FROM ROLE dead_letter;
REVOKE SELECT ON TABLE crm_syncs FROM ROLE download, transcribe, analyze;
REVOKE
  SELECT (tenant_id, provider, status, status_reason, updated_at),
  UPDATE (tenant_id, provider, status, status_reason, updated_at)
  ON TABLE crm_integrations FROM ROLE crm_sync;
REVOKE SELECT, INSERT, UPDATE ON TABLE crm_syncs FROM ROLE crm_sync;
REVOKE
  SELECT (
    tenant_id, call_id, details, started_at, no_audio_reason, transcript, analysis, intent, lead_score, updated_at
  )
  ON TABLE call_records FROM ROLE crm_sync;
REVOKE
  SELECT (tenant_id, call_id, details, started_at, no_audio_reason, transcript, analysis, updated_at),
  UPDATE (tenant_id, call_id, analysis, intent, lead_score, updated_at)
  ON TABLE call_records FROM ROLE analyze;
REVOKE
  SELECT (tenant_id, call_id, details, started_at, recording, no_audio_reason, transcript, analysis, updated_at),
  UPDATE (tenant_id, call_id, no_audio_reason, transcript, updated_at)
  ON TABLE call_records FROM ROLE transcribe;
REVOKE
  SELECT,
  INSERT (tenant_id, call_id, details, started_at, created_at, updated_at),
  UPDATE (
    tenant_id, call_id, details, started_at, created_at, updated_at,
    recording, no_audio_reason, analysis, intent, lead_score
  )
  ON TABLE call_records FROM ROLE download;
REVOKE INSERT ON TABLE processing_requests FROM ROLE download;
REVOKE SELECT, UPDATE (tenant_id, request_id, state, stage, updated_at, finished_at) ON TABLE processing_requests
  FROM ROLE download, transcribe, analyze, crm_sync;
REVOKE SELECT, INSERT ON TABLE usage_ledger FROM ROLE download, transcribe, analyze, crm_sync;
REVOKE SELECT, INSERT, UPDATE ON TABLE stage_runs FROM ROLE download, transcribe, analyze, crm_sync;
REVOKE SELECT (tenant_id, route_kind, route_value) ON TABLE tenant_routes FROM ROLE webhook, operator;
REVOKE SELECT (tenant_id, name, status, config) ON TABLE tenants
  FROM ROLE webhook, download, transcribe, analyze, crm_sync, dead_letter, operator;

DROP ROLE operator;
DROP ROLE dead_letter;
DROP ROLE crm_sync;
DROP ROLE analyze;
DROP ROLE transcribe;
DROP ROLE download;
DROP ROLE webhook;
