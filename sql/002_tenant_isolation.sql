-- only: spanner (whole file)
-- Who may touch which table and column: one database role per service (fine-grained access control). Spanner has no
-- row-level security (docs/decisions/0001-no-row-level-security.md), so rows are kept apart by tenant-first keys and
-- the repository; these roles limit what a service could reach if its code were wrong. Each service opens the
-- database in its own role, and IAM lets its service account assume no other.
-- An UPDATE or DELETE by DML reads the columns of its WHERE clause, hence SELECT beside UPDATE.

CREATE ROLE webhook;
CREATE ROLE download;
CREATE ROLE transcribe;
CREATE ROLE analyze;
CREATE ROLE crm_sync;
CREATE ROLE dead_letter;
CREATE ROLE operator;

-- Tenants: read by all who act for one, written by none of the services (`pipeline tenant` runs as a person).
GRANT SELECT (tenant_id, name, status, config) ON TABLE tenants
  TO ROLE webhook, download, transcribe, analyze, crm_sync, dead_letter, operator;

-- Only the receiver starts from a company id or an address; the operator shows them.
GRANT SELECT (tenant_id, route_kind, route_value) ON TABLE tenant_routes TO ROLE webhook, operator;

-- Every stage claims, records and accounts.
GRANT SELECT, INSERT, UPDATE ON TABLE stage_runs TO ROLE download, transcribe, analyze, crm_sync;
GRANT SELECT, INSERT ON TABLE usage_ledger TO ROLE download, transcribe, analyze, crm_sync;
GRANT SELECT, UPDATE (tenant_id, request_id, state, stage, updated_at, finished_at) ON TABLE processing_requests
  TO ROLE download, transcribe, analyze, crm_sync;

-- Only the first stage admits a request and a call.
GRANT INSERT ON TABLE processing_requests TO ROLE download;
GRANT
  SELECT,
  INSERT (tenant_id, call_id, details, started_at, created_at, updated_at),
  UPDATE (
    tenant_id, call_id, details, started_at, created_at, updated_at,
    recording, no_audio_reason, analysis, intent, lead_score
  )
  ON TABLE call_records TO ROLE download;

-- The transcriber reads where the audio is and writes what was said.
GRANT
  SELECT (tenant_id, call_id, details, started_at, recording, no_audio_reason, transcript, analysis, updated_at),
  UPDATE (tenant_id, call_id, no_audio_reason, transcript, updated_at)
  ON TABLE call_records TO ROLE transcribe;

-- The analyst reads what was said and writes what it means; it need not know where the audio is.
GRANT
  SELECT (tenant_id, call_id, details, started_at, no_audio_reason, transcript, analysis, updated_at),
  UPDATE (tenant_id, call_id, analysis, intent, lead_score, updated_at)
  ON TABLE call_records TO ROLE analyze;

-- The CRM stage reads the result, never the audio's location, and keeps the CRM's ids.
GRANT
  SELECT (
    tenant_id, call_id, details, started_at, no_audio_reason, transcript, analysis, intent, lead_score, updated_at
  )
  ON TABLE call_records TO ROLE crm_sync;
GRANT SELECT, INSERT, UPDATE ON TABLE crm_syncs TO ROLE crm_sync;
GRANT
  SELECT (tenant_id, provider, status, status_reason, updated_at),
  UPDATE (tenant_id, provider, status, status_reason, updated_at)
  ON TABLE crm_integrations TO ROLE crm_sync;

-- The other stages see a call with what the CRMs hold of it: one read returns both.
GRANT SELECT ON TABLE crm_syncs TO ROLE download, transcribe, analyze;

-- The recorder of dead letters writes them down and owns the tenant of those that belong to nobody.
GRANT SELECT, INSERT, UPDATE ON TABLE dead_letters TO ROLE dead_letter;
GRANT
  INSERT (tenant_id, name, status, config, created_at, updated_at),
  UPDATE (tenant_id, name, status, config, created_at, updated_at)
  ON TABLE tenants TO ROLE dead_letter;

-- Operators look at everything, replay, discard, sweep; whatever they do is audited, and the audit is not editable.
GRANT SELECT ON TABLE
  call_records, crm_integrations, crm_syncs, processing_requests, stage_runs, usage_ledger, dead_letters, audit_log
  TO ROLE operator;
GRANT INSERT ON TABLE audit_log TO ROLE operator;
GRANT UPDATE (tenant_id, dead_letter_id, state, replays, note, updated_at) ON TABLE dead_letters TO ROLE operator;
GRANT UPDATE (tenant_id, request_id, stage, state, attempt, due_at, updated_at) ON TABLE stage_runs TO ROLE operator;
GRANT UPDATE (tenant_id, request_id, state, stage, updated_at) ON TABLE processing_requests TO ROLE operator;
