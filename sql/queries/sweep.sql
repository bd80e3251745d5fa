-- name: overdue_runs
SELECT request_id, stage, state, event, due_at, updated_at, call_id
FROM stage_runs
WHERE tenant_id = @tenant_id
  AND (
    (state IN ('waiting', 'deferred', 'blocked') AND due_at <= @now)
    OR (state = 'running' AND lease_until <= @now AND (due_at IS NULL OR due_at <= @now))
    OR (state = 'retrying' AND updated_at <= @stale_before AND (due_at IS NULL OR due_at <= @now))
  )
ORDER BY COALESCE(due_at, updated_at)
LIMIT @row_limit

-- name: blocked_by_suspension
SELECT request_id, stage, state, event, due_at, updated_at, call_id
FROM stage_runs
WHERE tenant_id = @tenant_id AND state = 'blocked' AND error_code = 'tenant_suspended'
ORDER BY updated_at
LIMIT @row_limit

-- name: failed_without_letter
-- The letter of a failure has an id made of the request and the stage (`failure_id` in shared/desk_letters.py), or, after
-- a re-run, goes with the new request. A letter being replayed does not yet know of a failure since.
-- Joins, because the emulator runs a correlated subquery once for each run the tenant ever had.
SELECT DISTINCT s.request_id, s.stage, s.state, s.event, s.due_at, s.updated_at, s.call_id
FROM stage_runs@{FORCE_INDEX=stage_runs_by_state} AS s
LEFT JOIN dead_letters AS d
  ON d.tenant_id = @tenant_id
  AND d.dead_letter_id = CONCAT('d-', SUBSTR(TO_HEX(SHA256(CONCAT(s.request_id, '\x1f', s.stage))), 1, 32))
LEFT JOIN dead_letters@{FORCE_INDEX=dead_letters_by_request} AS e
  ON e.tenant_id = @tenant_id AND e.current_request_id = s.request_id AND e.stage = s.stage
WHERE s.tenant_id = @tenant_id AND s.state = 'failed'
  AND s.updated_at > @failed_after AND s.updated_at <= @stale_before
  AND (s.due_at IS NULL OR s.due_at <= @now)
  AND (
    (e.state = 'replaying' AND e.replayed_at < s.updated_at)
    OR (d.dead_letter_id IS NULL AND e.dead_letter_id IS NULL)
  )
ORDER BY s.updated_at
LIMIT @row_limit

-- name: stuck_requests
SELECT r.request_id, r.stage, s.event, r.updated_at, s.call_id
FROM processing_requests AS r
JOIN stage_runs AS s ON s.tenant_id = @tenant_id AND s.request_id = r.request_id AND s.stage = r.stage
LEFT JOIN stage_runs AS n ON n.tenant_id = @tenant_id AND n.request_id = r.request_id AND n.state != 'done'
WHERE r.tenant_id = @tenant_id AND r.state = 'active' AND r.updated_at <= @stale_before
  AND s.state = 'done' AND s.next_event IS NOT NULL
  AND n.request_id IS NULL
ORDER BY r.updated_at
LIMIT @row_limit

-- name: sweep_tenants
-- across tenants: the sweeper visits every tenant in turn
SELECT tenant_id, status
FROM tenants
WHERE status != 'system'
ORDER BY tenant_id
