-- The tables. `tenant_id` is the first key column everywhere and everything is interleaved in `tenants`.
-- JSON documents are stored as STRING: they are never queried inside, and the application encrypts some of them.

CREATE TABLE tenants (
  tenant_id STRING(40) NOT NULL,
  name STRING(200) NOT NULL,
  status STRING(16) NOT NULL,
  config JSON NOT NULL,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT tenants_status CHECK (status IN ('active', 'suspended', 'offboarded', 'system')),
) PRIMARY KEY (tenant_id);

-- How a webhook finds its tenant: CallRail company ids and the tokens of tenants' own addresses.
CREATE TABLE tenant_routes (
  tenant_id STRING(40) NOT NULL,
  route_kind STRING(16) NOT NULL,
  route_value STRING(64) NOT NULL,
  CONSTRAINT tenant_routes_kind CHECK (route_kind IN ('company', 'token')),
) PRIMARY KEY (tenant_id, route_kind, route_value),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION;

CREATE TABLE crm_integrations (
  tenant_id STRING(40) NOT NULL,
  provider STRING(16) NOT NULL,
  status STRING(16) NOT NULL,
  status_reason STRING(500),
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT crm_integrations_provider CHECK (provider IN ('hubspot', 'salesforce')),
  CONSTRAINT crm_integrations_status CHECK (status IN ('active', 'paused', 'throttled', 'blocked')),
) PRIMARY KEY (tenant_id, provider),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION;

CREATE TABLE call_records (
  tenant_id STRING(40) NOT NULL,
  call_id STRING(64) NOT NULL,
  details STRING(MAX) NOT NULL,
  started_at TIMESTAMP,
  recording STRING(MAX),
  no_audio_reason STRING(64),
  transcript STRING(MAX),
  analysis STRING(MAX),
  intent STRING(32),
  lead_score INT64,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT call_records_lead_score CHECK (lead_score BETWEEN 0 AND 100),
) PRIMARY KEY (tenant_id, call_id),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 760 DAY));

CREATE TABLE crm_syncs (
  tenant_id STRING(40) NOT NULL,
  call_id STRING(64) NOT NULL,
  provider STRING(16) NOT NULL,
  person_id STRING(64) NOT NULL,
  person_type STRING(16) NOT NULL,
  person_created BOOL NOT NULL,
  activity_id STRING(64) NOT NULL,
  activity_type STRING(16) NOT NULL,
  synced_at TIMESTAMP NOT NULL,
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (tenant_id, call_id, provider),
  INTERLEAVE IN PARENT call_records ON DELETE CASCADE;

CREATE TABLE processing_requests (
  tenant_id STRING(40) NOT NULL,
  request_id STRING(64) NOT NULL,
  call_id STRING(64) NOT NULL,
  kind STRING(32) NOT NULL,
  origin STRING(16) NOT NULL,
  state STRING(16) NOT NULL,
  stage STRING(16) NOT NULL,
  received_at TIMESTAMP NOT NULL,
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  finished_at TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT processing_requests_state
    CHECK (state IN ('active', 'done', 'failed', 'blocked', 'not_processed')),
) PRIMARY KEY (tenant_id, request_id),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 760 DAY));

CREATE TABLE stage_runs (
  tenant_id STRING(40) NOT NULL,
  request_id STRING(64) NOT NULL,
  stage STRING(16) NOT NULL,
  call_id STRING(64) NOT NULL,
  state STRING(16) NOT NULL,
  attempt INT64 NOT NULL,
  claim_token STRING(36) NOT NULL,
  worker STRING(128) NOT NULL,
  lease_until TIMESTAMP NOT NULL,
  due_at TIMESTAMP,
  event STRING(MAX) NOT NULL,
  checkpoint STRING(MAX),
  next_event STRING(MAX),
  error_code STRING(64),
  error_detail STRING(1000),
  error_fix STRING(1000),
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  finished_at TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT stage_runs_stage CHECK (stage IN ('download', 'transcribe', 'analyze', 'crm_sync')),
  CONSTRAINT stage_runs_state
    CHECK (state IN ('running', 'waiting', 'retrying', 'deferred', 'blocked', 'failed', 'done')),
  CONSTRAINT stage_runs_attempt CHECK (attempt >= 1),
) PRIMARY KEY (tenant_id, request_id, stage),
  INTERLEAVE IN PARENT processing_requests ON DELETE CASCADE;

-- One row per finished stage, inserted and never updated: the insert decides which of two racing workers recorded it.
CREATE TABLE usage_ledger (
  tenant_id STRING(40) NOT NULL,
  request_id STRING(64) NOT NULL,
  stage STRING(16) NOT NULL,
  call_id STRING(64) NOT NULL,
  claim_token STRING(36) NOT NULL,
  model STRING(128) NOT NULL,
  audio_s FLOAT64 NOT NULL,
  input_tokens INT64 NOT NULL,
  output_tokens INT64 NOT NULL,
  recorded_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (tenant_id, request_id, stage),
  INTERLEAVE IN PARENT processing_requests ON DELETE CASCADE;

CREATE TABLE dead_letters (
  tenant_id STRING(40) NOT NULL,
  dead_letter_id STRING(64) NOT NULL,
  request_id STRING(64) NOT NULL,
  call_id STRING(64) NOT NULL,
  stage STRING(16) NOT NULL,
  state STRING(16) NOT NULL,
  reason STRING(64) NOT NULL,
  detail STRING(1000) NOT NULL,
  fix STRING(1000) NOT NULL,
  attempts INT64 NOT NULL,
  occurrences INT64 NOT NULL,
  replays INT64 NOT NULL,
  topic STRING(255) NOT NULL,
  event STRING(MAX) NOT NULL,
  attributes JSON NOT NULL,
  note STRING(1000),
  created_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT dead_letters_state CHECK (state IN ('open', 'replaying', 'closed', 'discarded')),
) PRIMARY KEY (tenant_id, dead_letter_id),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION,
  ROW DELETION POLICY (OLDER_THAN(updated_at, INTERVAL 400 DAY));

CREATE TABLE audit_log (
  tenant_id STRING(40) NOT NULL,
  audit_id STRING(36) NOT NULL,
  actor STRING(200) NOT NULL,
  action STRING(64) NOT NULL,
  target STRING(200) NOT NULL,
  detail JSON,
  outcome STRING(16) NOT NULL,
  occurred_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (tenant_id, audit_id),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION;
