-- name: read_call
SELECT c.details, c.recording, c.audio_s, c.no_audio_reason, c.transcript, c.analysis, c.updated_at,
  ARRAY(
    SELECT AS STRUCT s.provider, s.person_id, s.person_type, s.person_created,
      s.activity_id, s.activity_type, s.synced_at
    FROM crm_syncs AS s
    WHERE s.tenant_id = @tenant_id AND s.call_id = c.call_id
    ORDER BY s.provider
  ) AS crm
FROM call_records AS c
WHERE c.tenant_id = @tenant_id AND c.call_id = @call_id AND c.erased_at IS NULL

-- name: read_for_crm
SELECT c.details, NULL AS recording, c.audio_s, c.no_audio_reason, c.transcript, c.analysis, c.updated_at,
  ARRAY(
    SELECT AS STRUCT s.provider, s.person_id, s.person_type, s.person_created,
      s.activity_id, s.activity_type, s.synced_at
    FROM crm_syncs AS s
    WHERE s.tenant_id = @tenant_id AND s.call_id = c.call_id
    ORDER BY s.provider
  ) AS crm,
  (
    SELECT r.received_at
    FROM processing_requests AS r
    WHERE r.tenant_id = @tenant_id AND r.request_id = @first_request_id
  ) AS received_at
FROM call_records AS c
WHERE c.tenant_id = @tenant_id AND c.call_id = @call_id AND c.erased_at IS NULL

-- name: list_calls
SELECT call_id, started_at, intent, lead_score
FROM call_records
WHERE tenant_id = @tenant_id
ORDER BY started_at DESC
LIMIT @row_limit

-- name: call_story
SELECT r.request_id, r.kind, r.origin, r.state AS request_state, r.received_at, r.finished_at,
  s.stage, s.state, s.attempt, s.error_code, s.error_detail, s.error_fix, s.due_at,
  s.created_at, s.finished_at AS stage_finished_at
FROM processing_requests AS r
LEFT JOIN stage_runs AS s ON s.tenant_id = @tenant_id AND s.request_id = r.request_id
WHERE r.tenant_id = @tenant_id AND r.call_id = @call_id
ORDER BY r.received_at, s.created_at

-- name: read_details
SELECT c.details, c.details_ranks, c.analysis IS NOT NULL AS analyzed, c.recording IS NOT NULL AS recorded,
  c.no_audio_reason IS NOT NULL AS no_audio, c.erased_at IS NOT NULL AS erased,
  EXISTS (
    SELECT r.request_id
    FROM processing_requests AS r
    WHERE r.tenant_id = @tenant_id AND r.request_id = @first_request_id
  ) AS started
FROM call_records AS c
WHERE c.tenant_id = @tenant_id AND c.call_id = @call_id

-- name: wake_download
UPDATE stage_runs
SET due_at = @now, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND request_id = @first_request_id AND stage = 'download' AND state = 'deferred'
