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
