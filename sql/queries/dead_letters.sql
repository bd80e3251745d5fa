-- name: count_again
UPDATE dead_letters
SET occurrences = occurrences + 1, attempts = @attempts, reason = @reason, detail = @detail, fix = @fix,
  state = IF(state = 'discarded', state, 'open'), updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id

-- name: list_letters
SELECT d.tenant_id, d.dead_letter_id, d.request_id, d.call_id, d.stage,
  IF(d.state = 'replaying' AND s.state = 'done', 'closed', d.state) AS state,
  d.reason, d.detail, d.fix, d.attempts, d.occurrences, d.replays, d.created_at, d.updated_at
FROM dead_letters AS d
LEFT JOIN stage_runs AS s ON s.tenant_id = @tenant_id AND s.request_id = d.request_id AND s.stage = d.stage
WHERE d.tenant_id = @tenant_id
ORDER BY d.updated_at DESC
LIMIT @row_limit

-- name: read_letter
SELECT d.tenant_id, d.dead_letter_id, d.request_id, d.call_id, d.stage,
  IF(d.state = 'replaying' AND s.state = 'done', 'closed', d.state) AS state,
  d.reason, d.detail, d.fix, d.attempts, d.occurrences, d.replays, d.created_at, d.updated_at,
  d.topic, d.event, d.attributes, d.note
FROM dead_letters AS d
LEFT JOIN stage_runs AS s ON s.tenant_id = @tenant_id AND s.request_id = d.request_id AND s.stage = d.stage
WHERE d.tenant_id = @tenant_id AND d.dead_letter_id = @dead_letter_id

-- name: start_replay
UPDATE dead_letters
SET state = 'replaying', replays = replays + 1, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id AND state != 'closed'

-- name: discard
UPDATE dead_letters
SET state = 'discarded', note = @note, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id AND state = 'open'

-- name: write_audit
INSERT INTO audit_log (tenant_id, audit_id, actor, action, target, detail, outcome, occurred_at)
VALUES (@tenant_id, @audit_id, @actor, @action, @target, PARSE_JSON(@detail), @outcome, PENDING_COMMIT_TIMESTAMP())
