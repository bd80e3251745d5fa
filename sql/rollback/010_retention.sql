-- Calls are kept as long as before: two years and a month for everybody.
-- only: spanner
GRANT SELECT (name, status, config) ON TABLE tenants TO ROLE webhook;

-- only: spanner
REVOKE SELECT (intake) ON TABLE tenants FROM ROLE webhook;

-- only: spanner
REVOKE SELECT (retention_days) ON TABLE tenants FROM ROLE download, operator;

-- only: spanner
REVOKE SELECT (tenant_id, retention_days) ON TABLE tenants FROM ROLE dead_letter;

-- only: spanner
REVOKE INSERT (expires_at) ON TABLE call_records FROM ROLE download;

-- only: spanner
REVOKE INSERT (expires_at) ON TABLE processing_requests FROM ROLE download, crm_sync, operator;

-- only: spanner
REVOKE SELECT (expires_at) ON TABLE processing_requests FROM ROLE operator;

-- only: spanner
REVOKE INSERT (kept_until) ON TABLE dead_letters FROM ROLE dead_letter;

ALTER TABLE tenants DROP COLUMN intake;
ALTER TABLE tenants DROP COLUMN retention_days;
ALTER TABLE processing_requests REPLACE ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 760 DAY));
ALTER TABLE processing_requests DROP COLUMN expires_at;
ALTER TABLE call_records REPLACE ROW DELETION POLICY (OLDER_THAN(created_at, INTERVAL 760 DAY));
ALTER TABLE call_records DROP COLUMN expires_at;
