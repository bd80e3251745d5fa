-- name: calls_by_hash
SELECT call_id
FROM call_records
WHERE tenant_id = @tenant_id AND caller_hash IN UNNEST(@hashes)
ORDER BY call_id

-- name: calls_without_hash
SELECT call_id, details
FROM call_records
WHERE tenant_id = @tenant_id AND caller_hash IS NULL AND erased_at IS NULL

-- name: events_without_call
SELECT s.call_id, s.request_id, s.stage, s.event
FROM stage_runs AS s
WHERE s.tenant_id = @tenant_id AND s.stage = 'download' AND NOT EXISTS (
  SELECT c.call_id
  FROM call_records AS c
  WHERE c.tenant_id = @tenant_id AND c.call_id = s.call_id
)

-- name: letters
SELECT call_id, dead_letter_id, event
FROM dead_letters
WHERE tenant_id = @tenant_id

-- name: letters_of_call
SELECT dead_letter_id, stage, reason, event
FROM dead_letters
WHERE tenant_id = @tenant_id AND call_id = @call_id
ORDER BY dead_letter_id

-- name: requests_of_call
SELECT request_id
FROM processing_requests
WHERE tenant_id = @tenant_id AND call_id = @call_id
UNION DISTINCT
SELECT request_id
FROM stage_runs
WHERE tenant_id = @tenant_id AND call_id = @call_id
ORDER BY request_id

-- name: runs_of_call
SELECT s.request_id, s.stage, s.event, s.claim_token,
  EXISTS (
    SELECT l.stage
    FROM usage_ledger AS l
    WHERE l.tenant_id = @tenant_id AND l.request_id = s.request_id AND l.stage = s.stage
  ) AS has_ledger
FROM stage_runs AS s
WHERE s.tenant_id = @tenant_id AND s.call_id = @call_id
ORDER BY s.request_id, s.stage

-- name: crm_of_call
SELECT provider, person_type, person_id, activity_type, activity_id, person_created
FROM crm_syncs
WHERE tenant_id = @tenant_id AND call_id = @call_id
ORDER BY provider

-- name: erase_call
UPDATE call_records
SET details = @details, details_ranks = NULL, caller_hash = NULL, started_at = NULL, recording = NULL,
  no_audio_reason = NULL, transcript = NULL, analysis = NULL, analysis_state = NULL, intent = NULL, lead_score = NULL,
  erased_at = PENDING_COMMIT_TIMESTAMP(), updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND call_id = @call_id AND erased_at IS NULL

-- name: close_requests
UPDATE processing_requests
SET state = 'done', updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND call_id = @call_id AND state != 'done'

-- name: erase_letters
DELETE FROM dead_letters
WHERE tenant_id = @tenant_id AND call_id = @call_id

-- name: erase_syncs
DELETE FROM crm_syncs
WHERE tenant_id = @tenant_id AND call_id = @call_id

-- name: rows_of_tenant
SELECT 'calls' AS kind, COUNT(*) AS held
FROM call_records
WHERE tenant_id = @tenant_id
UNION ALL
SELECT 'dead letters' AS kind, COUNT(*) AS held
FROM dead_letters
WHERE tenant_id = @tenant_id
UNION ALL
SELECT 'stage runs' AS kind, COUNT(*) AS held
FROM stage_runs
WHERE tenant_id = @tenant_id
