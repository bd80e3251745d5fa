-- name: read_run
SELECT call_id, state, attempt, claim_token, lease_until, due_at, event, checkpoint, next_event,
  error_code, error_detail, error_fix
FROM stage_runs
WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage

-- name: take_over
UPDATE stage_runs
SET state = 'running', attempt = @attempt, claim_token = @claim_token, worker = @worker,
  lease_until = @lease_until, due_at = NULL, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage
  AND claim_token = @expected_token AND state = @expected_state

-- name: save_checkpoint
UPDATE stage_runs
SET checkpoint = @checkpoint, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage
  AND claim_token = @claim_token AND state = 'running'

-- name: sleep
UPDATE stage_runs
SET state = @state, due_at = @due_at, checkpoint = COALESCE(@checkpoint, checkpoint),
  error_code = @error_code, error_detail = @error_detail, error_fix = @error_fix, vendor = @vendor,
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage
  AND claim_token = @claim_token AND state = 'running'

-- name: set_request_state
UPDATE processing_requests
SET state = @state, stage = @stage, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id

-- name: reopen_run
UPDATE stage_runs
SET state = IF(state IN ('failed', 'blocked'), 'retrying', state), attempt = 1,
  due_at = IF(state IN ('failed', 'blocked'), NULL, due_at), updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage
  AND state != 'done'

-- name: reopen_request
UPDATE processing_requests
SET state = 'active', stage = @stage, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @request_id
  AND state IN ('failed', 'blocked')
