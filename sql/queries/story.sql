-- name: tell
SELECT t.tenant_id, t.name, t.status, t.config,
  ARRAY(
    SELECT AS STRUCT c.started_at, c.recording IS NOT NULL AS recorded, c.transcript IS NOT NULL AS transcribed,
      c.analysis IS NOT NULL AS analyzed, c.analysis_state, c.no_audio_reason, c.intent, c.lead_score, c.created_at
    FROM call_records AS c
    WHERE c.tenant_id = @tenant_id AND c.call_id = @call_id
  ) AS calls,
  ARRAY(
    SELECT AS STRUCT r.request_id, r.kind, r.origin, r.state, r.stage, r.received_at, r.updated_at, r.finished_at
    FROM processing_requests AS r
    WHERE r.tenant_id = @tenant_id AND r.call_id = @call_id
    ORDER BY r.received_at, r.created_at
  ) AS requests,
  ARRAY(
    SELECT AS STRUCT s.request_id, s.stage, s.state, s.attempt, s.worker, s.lease_until, s.created_at, s.updated_at,
      s.due_at, s.finished_at, s.vendor, s.error_code, s.error_detail, s.error_fix, s.checkpoint, s.next_event
    FROM processing_requests AS q
    JOIN stage_runs AS s ON s.tenant_id = q.tenant_id AND s.request_id = q.request_id
    WHERE q.tenant_id = @tenant_id AND q.call_id = @call_id
    ORDER BY s.created_at
  ) AS runs,
  ARRAY(
    -- A scan of the tenant's letters: they are few, and a letter may name a request that never began.
    SELECT AS STRUCT d.dead_letter_id, d.request_id AS first_request_id,
      COALESCE(d.current_request_id, d.request_id) AS request_id, d.stage, d.state, d.reason, d.detail, d.fix,
      d.attempts, d.occurrences, d.replays, d.created_at, d.updated_at, COALESCE(d.discard_reason, d.note) AS note,
      d.kept_until
    FROM dead_letters AS d
    WHERE d.tenant_id = @tenant_id AND d.call_id = @call_id
    ORDER BY d.created_at
  ) AS letters,
  ARRAY(
    SELECT AS STRUCT v.vendor, v.state, v.failures, v.probe_at, v.reason, v.detail, v.fix
    FROM vendor_circuits AS v
    WHERE v.tenant_id = @tenant_id
    ORDER BY v.vendor
  ) AS circuits,
  ARRAY(
    SELECT AS STRUCT y.provider, y.person_type, y.person_id, y.activity_type, y.activity_id, y.synced_at
    FROM crm_syncs AS y
    WHERE y.tenant_id = @tenant_id AND y.call_id = @call_id
    ORDER BY y.provider
  ) AS syncs
FROM tenants AS t
WHERE t.tenant_id = @tenant_id

-- name: call_of_request
SELECT call_id
FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id = @request_id

-- name: tenants_of
-- across tenants: an operator may hold nothing but a call's or a request's id, and asks whose it is
SELECT t.tenant_id, r.call_id
FROM tenants AS t
JOIN processing_requests@{FORCE_INDEX=processing_requests_by_call} AS r ON r.tenant_id = t.tenant_id
WHERE r.call_id = @id
UNION DISTINCT
SELECT t.tenant_id, r.call_id
FROM tenants AS t
JOIN processing_requests AS r ON r.tenant_id = t.tenant_id
WHERE r.request_id = @id
ORDER BY tenant_id
LIMIT 20

-- name: letters_of
SELECT d.call_id, d.dead_letter_id, d.request_id AS first_request_id,
  COALESCE(d.current_request_id, d.request_id) AS request_id, d.stage, d.state, d.reason, d.detail, d.fix, d.attempts,
  d.occurrences, d.replays, d.created_at, d.updated_at, COALESCE(d.discard_reason, d.note) AS note, d.kept_until
FROM dead_letters AS d
WHERE d.tenant_id = @tenant_id AND d.call_id IN UNNEST(@call_ids)
ORDER BY d.created_at

-- name: recent
SELECT c.call_id, c.started_at, c.recording IS NOT NULL AS recorded, c.transcript IS NOT NULL AS transcribed,
  c.analysis IS NOT NULL AS analyzed, c.analysis_state, c.no_audio_reason, c.intent, c.lead_score, c.created_at,
  ARRAY(
    SELECT AS STRUCT r.request_id, r.kind, r.origin, r.state, r.stage, r.received_at, r.updated_at, r.finished_at
    FROM processing_requests AS r
    WHERE r.tenant_id = @tenant_id AND r.call_id = c.call_id
    ORDER BY r.received_at, r.created_at
  ) AS requests,
  ARRAY(
    SELECT AS STRUCT s.request_id, s.stage, s.state, s.attempt, s.worker, s.lease_until, s.created_at, s.updated_at,
      s.due_at, s.finished_at, s.vendor, s.error_code, s.error_detail, s.error_fix, s.checkpoint, s.next_event
    FROM processing_requests AS q
    JOIN stage_runs AS s ON s.tenant_id = q.tenant_id AND s.request_id = q.request_id
    WHERE q.tenant_id = @tenant_id AND q.call_id = c.call_id
    ORDER BY s.created_at
  ) AS runs
FROM call_records AS c
WHERE c.tenant_id = @tenant_id
ORDER BY c.started_at DESC, c.created_at DESC
LIMIT @row_limit
