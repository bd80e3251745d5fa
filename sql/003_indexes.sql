-- The questions that the receiver, the sweeper and the operators ask.

-- Whose webhook is this? The only look-up that starts from something other than a tenant, and unique for that reason.
CREATE UNIQUE INDEX tenant_routes_by_value ON tenant_routes (route_kind, route_value);

-- Which calls came in on a day, and how good were they?
CREATE INDEX call_records_by_start ON call_records (tenant_id, started_at DESC) STORING (lead_score, intent);
CREATE INDEX call_records_by_score ON call_records (tenant_id, lead_score DESC) STORING (started_at, intent);

-- What is a call's story?
CREATE INDEX processing_requests_by_call ON processing_requests (tenant_id, call_id, received_at DESC);

-- What does not move?
CREATE INDEX processing_requests_by_state ON processing_requests (tenant_id, state, updated_at) STORING (stage);
CREATE INDEX stage_runs_by_state ON stage_runs (tenant_id, state, updated_at) STORING (lease_until, due_at);

-- What was given up, why, and since when?
CREATE INDEX dead_letters_by_state ON dead_letters (tenant_id, state, updated_at DESC) STORING (stage, reason);

-- Who did what?
CREATE INDEX audit_log_by_time ON audit_log (tenant_id, occurred_at DESC);
