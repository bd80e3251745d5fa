-- name: find_for_failure
SELECT d.dead_letter_id, d.request_id, d.current_request_id, d.stage, d.state,
  d.failed_at, d.replayed_at, d.closed_at, d.replayed_by,
  EXISTS (
    SELECT f.message_id
    FROM dead_letter_failures AS f
    WHERE f.tenant_id = @tenant_id AND f.dead_letter_id = d.dead_letter_id AND f.message_id = @message_id
  ) AS is_known
FROM dead_letters AS d
WHERE d.tenant_id = @tenant_id
  AND d.dead_letter_id IN UNNEST(ARRAY_CONCAT([@dead_letter_id], ARRAY(
    SELECT e.dead_letter_id
    FROM dead_letters@{FORCE_INDEX=dead_letters_by_request} AS e
    WHERE e.tenant_id = @tenant_id AND e.current_request_id = @request_id
  )))

-- name: count_again
UPDATE dead_letters
SET occurrences = occurrences + 1, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id

-- name: fail_again
UPDATE dead_letters
SET occurrences = occurrences + 1, stage = @stage, attempts = @attempts, reason = @reason, detail = @detail,
  fix = @fix, topic = @topic, event = @event, attributes = PARSE_JSON(@attributes),
  state = IF(state = 'discarded', state, 'open'), closed_at = NULL,
  failed_at = COALESCE(@published_at, CURRENT_TIMESTAMP()),
  kept_until = IF(state = 'discarded', kept_until, @kept_until),
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id

-- name: tenants_with_letters
-- across tenants: operators look after the letters of all tenants; whatever follows is asked tenant by tenant
SELECT DISTINCT tenant_id
FROM dead_letters
WHERE state IN UNNEST(@states)
ORDER BY tenant_id

-- name: list_letters
SELECT d.tenant_id, d.dead_letter_id, d.request_id, d.call_id, d.stage, d.state,
  d.reason, d.detail, d.fix, d.attempts, d.occurrences, d.replays, d.created_at, d.updated_at,
  COALESCE(d.current_request_id, d.request_id) AS current_request_id, s.error_code, s.state AS run_state,
  d.failed_at, d.replayed_at, d.replayed_by, d.closed_at, d.note, d.discard_reason, d.copy_of, d.kept_until,
  d.topic != '' AS has_topic
FROM dead_letters AS d
LEFT JOIN stage_runs AS s
  ON s.tenant_id = @tenant_id AND s.request_id = COALESCE(d.current_request_id, d.request_id) AND s.stage = d.stage
WHERE d.tenant_id = @tenant_id
  AND d.state IN UNNEST(@states)
  AND (@stage IS NULL OR d.stage = @stage)
  AND (@reason IS NULL OR d.reason = @reason)
  AND (@error_code IS NULL OR s.error_code = @error_code)
  AND (@created_after IS NULL OR d.created_at >= @created_after)
  AND (@created_before IS NULL OR d.created_at <= @created_before)
  AND (ARRAY_LENGTH(@ids) = 0 OR d.dead_letter_id IN UNNEST(@ids))
  AND (@text IS NULL OR STRPOS(LOWER(CONCAT(
    d.dead_letter_id, ' ', d.request_id, ' ', d.call_id, ' ', d.reason, ' ', d.detail, ' ', d.fix, ' ',
    COALESCE(s.error_code, ''), ' ', COALESCE(s.error_detail, ''), ' ', COALESCE(d.note, ''))), LOWER(@text)) > 0)
ORDER BY
  IF(@sort = 'newest', d.updated_at, NULL) DESC,
  IF(@sort = 'oldest', d.created_at, NULL),
  IF(@sort = 'attempts', d.attempts, NULL) DESC,
  IF(@sort = 'replays', d.replays, NULL) DESC,
  IF(@sort = 'occurrences', d.occurrences, NULL) DESC,
  d.dead_letter_id
LIMIT @row_limit

-- name: group_letters
SELECT d.tenant_id, d.stage, d.reason, COUNT(*) AS letters, SUM(d.occurrences) AS occurrences,
  SUM(d.replays) AS replays, MIN(d.created_at) AS oldest, MAX(d.updated_at) AS newest,
  ANY_VALUE(d.detail HAVING MAX d.updated_at) AS detail, ANY_VALUE(d.fix HAVING MAX d.updated_at) AS fix
FROM dead_letters AS d
LEFT JOIN stage_runs AS s
  ON s.tenant_id = @tenant_id AND s.request_id = COALESCE(d.current_request_id, d.request_id) AND s.stage = d.stage
WHERE d.tenant_id = @tenant_id
  AND d.state IN UNNEST(@states)
  AND (@stage IS NULL OR d.stage = @stage)
  AND (@reason IS NULL OR d.reason = @reason)
  AND (@error_code IS NULL OR s.error_code = @error_code)
  AND (@created_after IS NULL OR d.created_at >= @created_after)
  AND (@created_before IS NULL OR d.created_at <= @created_before)
  AND (ARRAY_LENGTH(@ids) = 0 OR d.dead_letter_id IN UNNEST(@ids))
  AND (@text IS NULL OR STRPOS(LOWER(CONCAT(
    d.dead_letter_id, ' ', d.request_id, ' ', d.call_id, ' ', d.reason, ' ', d.detail, ' ', d.fix, ' ',
    COALESCE(s.error_code, ''), ' ', COALESCE(s.error_detail, ''), ' ', COALESCE(d.note, ''))), LOWER(@text)) > 0)
GROUP BY d.tenant_id, d.stage, d.reason

-- name: known_message
SELECT message_id
FROM dead_letter_failures
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id AND message_id = @message_id

-- name: failures_of
SELECT message_id, stage, reason, detail, fix, attempts, source, published_at, recorded_at
FROM dead_letter_failures
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id
ORDER BY recorded_at, message_id

-- name: requests_of
SELECT request_id, kind, origin, state, stage, received_at, finished_at
FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id IN UNNEST(@request_ids)
ORDER BY received_at, created_at

-- name: runs_of
SELECT request_id, stage, state, attempt, worker, error_code, error_detail, error_fix, due_at, checkpoint,
  created_at, updated_at, finished_at
FROM stage_runs
WHERE tenant_id = @tenant_id AND request_id IN UNNEST(@request_ids)
ORDER BY created_at

-- name: history_of
SELECT occurred_at, actor, action, JSON_VALUE(detail, '$.note') AS note, outcome, TO_JSON_STRING(detail) AS detail
FROM audit_log
WHERE tenant_id = @tenant_id AND target = @target
ORDER BY occurred_at

-- name: arrived_letters
-- A replayed letter stays until its call is at its end. One that nobody replayed has nothing left to be replayed once its
-- stage is done.
SELECT d.dead_letter_id
FROM dead_letters@{FORCE_INDEX=dead_letters_by_state} AS d
JOIN stage_runs AS s
  ON s.tenant_id = @tenant_id AND s.request_id = COALESCE(d.current_request_id, d.request_id) AND s.stage = d.stage
JOIN processing_requests AS r
  ON r.tenant_id = @tenant_id AND r.request_id = COALESCE(d.current_request_id, d.request_id)
WHERE d.tenant_id = @tenant_id AND s.state = 'done'
  AND (d.state = 'open' OR (d.state = 'replaying' AND r.state IN ('done', 'not_processed', 'failed')))
LIMIT @row_limit

-- name: discard
UPDATE dead_letters
SET state = 'discarded', discard_reason = @reason, kept_until = @kept_until,
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id AND state = 'open'

-- name: restore
UPDATE dead_letters
SET state = 'open', discard_reason = NULL, kept_until = @kept_until, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id AND state = 'discarded' AND kept_until > @now

-- name: note
UPDATE dead_letters
SET note = @note, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND dead_letter_id = @dead_letter_id

-- name: counts_by_state
SELECT state, COUNT(*) AS letters, MIN(created_at) AS oldest, SUM(replays) AS replays,
  COUNTIF(created_at >= @since) AS created_lately, COUNTIF(closed_at >= @since) AS closed_lately
FROM dead_letters
WHERE tenant_id = @tenant_id
GROUP BY state

-- name: usage_averages
SELECT stage, model, COUNT(*) AS calls, AVG(audio_s) AS audio_s, AVG(input_tokens) AS input_tokens,
  AVG(output_tokens) AS output_tokens
FROM usage_ledger
WHERE tenant_id = @tenant_id AND recorded_at >= @since
GROUP BY stage, model
