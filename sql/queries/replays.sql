-- name: find_job
-- across tenants: an operator names a job by its id; what it holds is then read tenant by tenant
SELECT tenant_id, job_id, state, actor, selection, options, tenants, total, judged_steps, stop_reason,
  lock_until > CURRENT_TIMESTAMP() AS is_locked, created_at, updated_at, finished_at
FROM replay_jobs
WHERE job_id = @job_id

-- name: recent_jobs
-- across tenants: the operators' list of their latest replays
SELECT tenant_id, job_id, state, actor, selection, options, tenants, total, judged_steps, stop_reason,
  lock_until > CURRENT_TIMESTAMP() AS is_locked, created_at, updated_at, finished_at
FROM replay_jobs
ORDER BY created_at DESC
LIMIT @row_limit

-- name: live_times
-- across tenants: a replay shares workers and database with everybody's calls, and must slow down none of them
-- Calls as they come: a replayed call was received before its replay began, a re-run and a backfill have another origin.
SELECT UNIX_MICROS(r.finished_at), TIMESTAMP_DIFF(r.finished_at, r.received_at, MICROSECOND)
FROM tenants AS t
JOIN processing_requests@{FORCE_INDEX=processing_requests_by_state} AS r ON r.tenant_id = t.tenant_id
WHERE t.status = 'active' AND r.state = 'done' AND r.updated_at > @ended_after
  AND r.origin = 'webhook' AND r.kind = 'post_call'
  AND r.received_at > @received_after AND r.finished_at IS NOT NULL
ORDER BY r.updated_at DESC
LIMIT 1000

-- name: take_job
UPDATE replay_jobs
SET state = 'running', stop_reason = NULL, lock_token = @lock_token,
  lock_until = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL @lease_s SECOND), updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND job_id = @job_id AND state != 'finished'
  AND (lock_token IS NULL OR lock_until <= CURRENT_TIMESTAMP())

-- name: renew_job
UPDATE replay_jobs
SET lock_until = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL @lease_s SECOND), judged_steps = @judged_steps,
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND job_id = @job_id AND lock_token = @lock_token AND state = 'running'

-- name: leave_job
UPDATE replay_jobs
SET state = @state, stop_reason = COALESCE(@stop_reason, stop_reason), judged_steps = @judged_steps,
  lock_token = NULL, lock_until = NULL, finished_at = IF(@state = 'finished', CURRENT_TIMESTAMP(), NULL),
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND job_id = @job_id AND lock_token = @lock_token

-- name: stop_job
UPDATE replay_jobs
SET state = 'stopped', stop_reason = @stop_reason, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND job_id = @job_id AND state IN ('waiting', 'running')

-- name: items_of_job
SELECT tenant_id, dead_letter_id, position, state, reason, replay_number
FROM replay_items@{FORCE_INDEX=replay_items_by_job}
WHERE tenant_id = @tenant_id AND job_id = @job_id
ORDER BY position

-- name: counts_of_job
SELECT state, COALESCE(reason, ''), COUNT(*) AS letters
FROM replay_items@{FORCE_INDEX=replay_items_by_job}
WHERE tenant_id = @tenant_id AND job_id = @job_id
GROUP BY 1, 2

-- name: replays_of_letter
SELECT i.job_id, i.state, i.reason, i.replay_number, i.created_at, i.updated_at
FROM replay_items AS i
WHERE i.tenant_id = @tenant_id AND i.dead_letter_id = @dead_letter_id
ORDER BY i.created_at

-- name: looks_at_sent
-- A request sleeps in one stage at most.
SELECT i.tenant_id, i.dead_letter_id, i.position, i.state, i.replay_number, d.state, d.replays, s.state, r.state,
  n.state,
  s.updated_at IS NULL OR (s.state = 'retrying' AND s.updated_at <= TIMESTAMP_ADD(d.replayed_at, INTERVAL 1 SECOND))
FROM replay_items@{FORCE_INDEX=replay_items_by_job} AS i
JOIN dead_letters AS d ON d.tenant_id = @tenant_id AND d.dead_letter_id = i.dead_letter_id
LEFT JOIN stage_runs AS s
  ON s.tenant_id = @tenant_id AND s.request_id = COALESCE(d.current_request_id, d.request_id) AND s.stage = d.stage
LEFT JOIN processing_requests AS r
  ON r.tenant_id = @tenant_id AND r.request_id = COALESCE(d.current_request_id, d.request_id)
LEFT JOIN stage_runs@{FORCE_INDEX=stage_runs_by_state} AS n
  ON n.tenant_id = @tenant_id AND n.request_id = COALESCE(d.current_request_id, d.request_id)
  AND n.state IN ('waiting', 'deferred', 'blocked')
WHERE i.tenant_id = @tenant_id AND i.job_id = @job_id AND i.state IN ('sent', 'parked')
ORDER BY i.position

-- name: outcomes_of_replays
SELECT state, COUNT(*) AS letters
FROM replay_items
WHERE tenant_id = @tenant_id
GROUP BY state
