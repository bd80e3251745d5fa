-- name: subjects
-- Ids of everything that a webhook was about: calls, texts, forms; some have no call record, some no request any more.
SELECT call_id
FROM call_records
WHERE tenant_id = @tenant_id AND call_id > @after
UNION DISTINCT
SELECT call_id
FROM processing_requests
WHERE tenant_id = @tenant_id AND call_id > @after
UNION DISTINCT
SELECT call_id
FROM dead_letters
WHERE tenant_id = @tenant_id AND call_id > @after
ORDER BY call_id
LIMIT @page_size

-- name: requests
SELECT r.request_id, r.call_id, r.kind, r.origin, r.state, r.stage, r.received_at, r.finished_at,
  ARRAY(
    SELECT AS STRUCT s.stage, s.state, s.attempt, s.error_code
    FROM stage_runs AS s
    WHERE s.tenant_id = @tenant_id AND s.request_id = r.request_id
    ORDER BY s.stage
  ) AS stages,
  ARRAY(
    SELECT AS STRUCT l.stage, l.model, l.audio_s, l.input_tokens, l.output_tokens, l.recorded_at
    FROM usage_ledger AS l
    WHERE l.tenant_id = @tenant_id AND l.request_id = r.request_id
    ORDER BY l.stage
  ) AS usage_lines
FROM processing_requests AS r
WHERE r.tenant_id = @tenant_id AND r.request_id > @after
ORDER BY r.request_id
LIMIT @page_size

-- name: audit_lines
SELECT audit_id, actor, action, target, TO_JSON_STRING(detail) AS detail, outcome, occurred_at
FROM audit_log
WHERE tenant_id = @tenant_id AND audit_id > @after
ORDER BY audit_id
LIMIT @page_size
