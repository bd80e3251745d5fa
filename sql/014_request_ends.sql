-- only: spanner
-- The stages after which nothing of a request follows end it once its last event is published, if it is still active.
GRANT SELECT (state, stage) ON TABLE processing_requests TO ROLE download, crm_sync;
