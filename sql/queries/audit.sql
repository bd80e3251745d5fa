-- name: audit_requests
SELECT request_id, call_id, kind, state, stage
FROM processing_requests
WHERE tenant_id = @tenant_id

-- name: audit_runs
SELECT request_id, call_id, stage, state, attempt, error_code, error_detail
FROM stage_runs
WHERE tenant_id = @tenant_id

-- name: audit_calls
SELECT call_id, JSON_VALUE(recording, '$.object_name') AS recording_object, transcript IS NOT NULL AS has_transcript,
  analysis IS NOT NULL AS has_analysis
FROM call_records
WHERE tenant_id = @tenant_id

-- name: ms_to_the_end
SELECT TIMESTAMP_DIFF(finished_at, received_at, MICROSECOND) / 1000
FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id IN UNNEST(@ids) AND state = 'done' AND finished_at IS NOT NULL
