-- How long calls are kept, for each tenant; and what the receiver may know of a tenant.

-- A policy is one for the whole table, so the time stands in each row, written from the tenant's own setting. The default
-- is for rows from before and equals schemas.tenant.RETENTION_DAYS. Rows interleaved in these go with them.
ALTER TABLE call_records ADD COLUMN expires_at TIMESTAMP NOT NULL
  DEFAULT (TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 760 DAY));

ALTER TABLE call_records REPLACE ROW DELETION POLICY (OLDER_THAN(expires_at, INTERVAL 0 DAY));

ALTER TABLE processing_requests ADD COLUMN expires_at TIMESTAMP NOT NULL
  DEFAULT (TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 760 DAY));

ALTER TABLE processing_requests REPLACE ROW DELETION POLICY (OLDER_THAN(expires_at, INTERVAL 0 DAY));

-- The setting by itself, for statements and for roles that need nothing else of the configuration.
ALTER TABLE tenants ADD COLUMN retention_days INT64
  AS (IFNULL(LAX_INT64(config.privacy.retention_days), 760)) STORED;

-- All that the receiver needs of a tenant; it reads no CRM settings, no API key's name, no instructions, no customer's name.
ALTER TABLE tenants ADD COLUMN intake JSON AS (JSON_OBJECT(
  'status', status,
  'callrail_company_ids', config.callrail_company_ids,
  'webhook_secret_names', config.webhook_secret_names,
  'signature_scheme', config.signature_scheme,
  'webhook_token', config.webhook_token
)) STORED;

-- only: spanner
GRANT SELECT (intake) ON TABLE tenants TO ROLE webhook;

-- only: spanner
REVOKE SELECT (name, status, config) ON TABLE tenants FROM ROLE webhook;

-- only: spanner
GRANT SELECT (retention_days) ON TABLE tenants TO ROLE download;

-- only: spanner
GRANT SELECT (tenant_id, retention_days) ON TABLE tenants TO ROLE dead_letter, operator;

-- only: spanner
GRANT INSERT (expires_at) ON TABLE call_records TO ROLE download;

-- only: spanner
GRANT INSERT (expires_at) ON TABLE processing_requests TO ROLE download, crm_sync, operator;

-- only: spanner
GRANT SELECT (expires_at) ON TABLE processing_requests TO ROLE operator;

-- only: spanner
GRANT INSERT (kept_until) ON TABLE dead_letters TO ROLE dead_letter;
