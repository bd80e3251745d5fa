-- only: spanner (whole file)

GRANT SELECT ON TABLE usage_ledger TO ROLE download, transcribe, analyze, crm_sync, operator;
GRANT SELECT (config, name, status, tenant_id) ON TABLE tenants TO ROLE dead_letter;
GRANT SELECT (route_kind, route_value, tenant_id) ON TABLE tenant_routes TO ROLE operator;
GRANT SELECT, UPDATE (request_id, stage, tenant_id) ON TABLE stage_runs TO ROLE operator;
GRANT INSERT, SELECT, UPDATE ON TABLE stage_runs TO ROLE download, transcribe, analyze, crm_sync;
GRANT INSERT, UPDATE ON TABLE replay_jobs TO ROLE operator;
GRANT INSERT, UPDATE ON TABLE replay_items TO ROLE operator;
GRANT SELECT, UPDATE ON TABLE reconciliation_reports TO ROLE operator;
GRANT SELECT ON TABLE processing_requests TO ROLE transcribe, analyze, crm_sync;
GRANT INSERT, UPDATE (request_id, tenant_id) ON TABLE processing_requests TO ROLE operator;
GRANT INSERT, SELECT ON TABLE processing_requests TO ROLE download;
GRANT UPDATE, UPDATE (dead_letter_id, tenant_id) ON TABLE dead_letters TO ROLE operator;
GRANT INSERT, SELECT, UPDATE ON TABLE dead_letters TO ROLE dead_letter;
GRANT SELECT ON TABLE dead_letter_failures TO ROLE dead_letter;
GRANT SELECT ON TABLE crm_syncs TO ROLE download, transcribe, analyze, crm_sync, operator;
GRANT SELECT ON TABLE crm_integrations TO ROLE operator;
GRANT
  SELECT (provider, status, status_reason, tenant_id, updated_at),
  UPDATE (provider, status, status_reason, tenant_id, updated_at)
  ON TABLE crm_integrations TO ROLE crm_sync;
GRANT SELECT ON TABLE call_records TO ROLE operator;
GRANT SELECT, UPDATE (created_at) ON TABLE call_records TO ROLE download;
GRANT SELECT (started_at) ON TABLE call_records TO ROLE analyze;
GRANT SELECT (started_at), UPDATE (no_audio_reason) ON TABLE call_records TO ROLE transcribe;
GRANT SELECT (intent, lead_score, started_at) ON TABLE call_records TO ROLE crm_sync;
GRANT SELECT ON TABLE audit_log TO ROLE operator;

REVOKE
  SELECT (detail, failures, fix, probe_at, reason, state, tenant_id, vendor)
  ON TABLE vendor_circuits FROM ROLE operator;
REVOKE
  INSERT (detail, failures, fix, probe_at, reason, state, tenant_id, updated_at, vendor),
  SELECT (detail, failures, fix, probe_at, reason, state, tenant_id, vendor),
  UPDATE (detail, failures, fix, probe_at, reason, state, tenant_id, updated_at, vendor)
  ON TABLE vendor_circuits FROM ROLE download, crm_sync;
REVOKE
  SELECT (audio_s, input_tokens, model, output_tokens, recorded_at, stage, tenant_id)
  ON TABLE usage_ledger FROM ROLE operator;
REVOKE
  INSERT (config, created_at, name, status, tenant_id, updated_at),
  UPDATE (config, created_at, name, status, tenant_id, updated_at)
  ON TABLE tenants FROM ROLE operator;
REVOKE
  SELECT (attempt, checkpoint, created_at, due_at, error_code, error_detail, error_fix, event,
    finished_at, lease_until, next_event, request_id, stage, state, tenant_id, updated_at, vendor,
    worker)
  ON TABLE stage_runs FROM ROLE operator;
REVOKE
  INSERT (attempt, call_id, claim_token, created_at, event, lease_until, request_id, stage, state,
    tenant_id, updated_at, worker),
  SELECT (attempt, call_id, checkpoint, claim_token, due_at, error_code, error_detail, error_fix,
    event, lease_until, next_event, request_id, stage, state, tenant_id, vendor),
  UPDATE (attempt, checkpoint, claim_token, due_at, error_code, error_detail, error_fix,
    finished_at, lease_until, next_event, request_id, stage, state, tenant_id, updated_at, vendor,
    worker)
  ON TABLE stage_runs FROM ROLE download, crm_sync;
REVOKE
  INSERT (attempt, call_id, claim_token, created_at, event, lease_until, request_id, stage, state,
    tenant_id, updated_at, worker),
  SELECT (attempt, call_id, checkpoint, claim_token, due_at, error_code, error_detail, error_fix,
    event, lease_until, next_event, request_id, stage, state, tenant_id),
  UPDATE (attempt, checkpoint, claim_token, due_at, error_code, error_detail, error_fix,
    finished_at, lease_until, next_event, request_id, stage, state, tenant_id, updated_at, vendor,
    worker)
  ON TABLE stage_runs FROM ROLE transcribe, analyze;
REVOKE
  INSERT (actor, created_at, job_id, judged_steps, options, selection, state, tenant_id, tenants,
    total, updated_at),
  UPDATE (finished_at, judged_steps, lock_token, lock_until, state, stop_reason, updated_at)
  ON TABLE replay_jobs FROM ROLE operator;
REVOKE
  INSERT (created_at, dead_letter_id, job_id, position, reason, state, tenant_id, updated_at),
  UPDATE (dead_letter_id, job_id, reason, replay_number, state, tenant_id, updated_at)
  ON TABLE replay_items FROM ROLE operator;
REVOKE
  SELECT (day, looked_at, recovered_calls, state, tenant_id),
  UPDATE (error_code, error_detail, error_fix, listed_until, looked_at, missing_calls, our_calls,
    provider_calls, recovered_calls, refused_calls, state, waiting_calls)
  ON TABLE reconciliation_reports FROM ROLE operator;
REVOKE SELECT (request_id, tenant_id) ON TABLE processing_requests FROM ROLE transcribe, analyze;
REVOKE
  INSERT (call_id, created_at, kind, origin, received_at, request_id, stage, state, tenant_id,
    updated_at)
  ON TABLE processing_requests FROM ROLE operator;
REVOKE
  INSERT (call_id, created_at, kind, origin, received_at, request_id, stage, state, tenant_id,
    updated_at),
  SELECT (request_id, tenant_id)
  ON TABLE processing_requests FROM ROLE download, crm_sync;
REVOKE
  UPDATE (attempts, attributes, closed_at, current_request_id, detail, discard_reason, event,
    failed_at, fix, kept_until, occurrences, reason, replayed_at, replayed_by, stage, topic)
  ON TABLE dead_letters FROM ROLE operator;
REVOKE
  INSERT (attempts, attributes, call_id, created_at, current_request_id, dead_letter_id, detail,
    event, failed_at, fix, occurrences, reason, replays, request_id, stage, state, tenant_id, topic,
    updated_at),
  SELECT (closed_at, current_request_id, dead_letter_id, failed_at, kept_until, occurrences,
    replayed_at, replayed_by, request_id, stage, state, tenant_id),
  UPDATE (attempts, attributes, closed_at, detail, event, failed_at, fix, kept_until, occurrences,
    reason, stage, state, topic, updated_at)
  ON TABLE dead_letters FROM ROLE dead_letter;
REVOKE SELECT (dead_letter_id, message_id, tenant_id) ON TABLE dead_letter_failures FROM ROLE dead_letter;
REVOKE
  SELECT (activity_id, activity_type, call_id, person_id, person_type, provider, synced_at,
    tenant_id)
  ON TABLE crm_syncs FROM ROLE operator;
REVOKE
  SELECT (activity_id, activity_type, call_id, person_created, person_id, person_type, provider,
    synced_at, tenant_id)
  ON TABLE crm_syncs FROM ROLE download, transcribe, analyze, crm_sync;
REVOKE SELECT (audio_s) ON TABLE call_records FROM ROLE transcribe;
REVOKE
  SELECT (audio_s),
  UPDATE (analysis_state, call_id, tenant_id, updated_at)
  ON TABLE call_records FROM ROLE crm_sync;
REVOKE SELECT (audio_s), UPDATE (analysis_state) ON TABLE call_records FROM ROLE analyze;
REVOKE
  SELECT (analysis, analysis_state, call_id, created_at, intent, lead_score, no_audio_reason,
    recording, started_at, tenant_id, transcript)
  ON TABLE call_records FROM ROLE operator;
REVOKE
  INSERT (details_ranks),
  SELECT (analysis, audio_s, call_id, details, details_ranks, no_audio_reason, recording, tenant_id,
    transcript, updated_at),
  UPDATE (analysis_state, audio_s, details_ranks)
  ON TABLE call_records FROM ROLE download;
REVOKE
  SELECT (action, actor, detail, occurred_at, outcome, target, tenant_id)
  ON TABLE audit_log FROM ROLE operator;
