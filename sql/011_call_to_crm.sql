-- only: spanner
-- The objective "in the CRM within ten minutes": the last stage says how long ago the call's webhook arrived.
GRANT SELECT (received_at) ON TABLE processing_requests TO ROLE crm_sync;
