-- only: spanner
REVOKE SELECT (received_at) ON TABLE processing_requests FROM ROLE crm_sync;
