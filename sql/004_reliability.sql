-- Waiting without burning attempts: circuits of tenants' vendors, and what a blocked run waits for.

-- One row for each vendor of a tenant that has failed: closed again, or open until a probe succeeds.
CREATE TABLE vendor_circuits (
  tenant_id STRING(40) NOT NULL,
  vendor STRING(16) NOT NULL,
  state STRING(16) NOT NULL,
  failures INT64 NOT NULL,
  reason STRING(64),
  detail STRING(1000),
  fix STRING(1000),
  probe_at TIMESTAMP NOT NULL,
  updated_at TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT vendor_circuits_state CHECK (state IN ('closed', 'blocked', 'throttled')),
  CONSTRAINT vendor_circuits_failures CHECK (failures >= 0),
) PRIMARY KEY (tenant_id, vendor),
  INTERLEAVE IN PARENT tenants ON DELETE NO ACTION;

-- Which vendor a blocked or deferred run waits for.
ALTER TABLE stage_runs ADD COLUMN vendor STRING(16);

-- How much each field of `details` is worth: webhooks of one call merge to the same result in any order.
ALTER TABLE call_records ADD COLUMN details_ranks STRING(MAX);

-- `failed` while the model has given no usable answer; the call goes to the CRM without one, marked.
ALTER TABLE call_records ADD COLUMN analysis_state STRING(16);
