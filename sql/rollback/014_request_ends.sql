-- only: spanner
REVOKE SELECT (state, stage) ON TABLE processing_requests FROM ROLE download, crm_sync;
