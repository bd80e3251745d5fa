-- An hour's difference is none: a row's time was taken by the worker's clock. Requests count from their webhook, because a
-- re-run holds the same words as the first run.

-- name: restamp_call_records
UPDATE call_records
SET expires_at = TIMESTAMP_ADD(created_at, INTERVAL @days DAY)
WHERE tenant_id = @tenant_id AND call_id IN (
  SELECT c.call_id
  FROM call_records AS c
  WHERE c.tenant_id = @tenant_id
    AND ABS(TIMESTAMP_DIFF(c.expires_at, TIMESTAMP_ADD(c.created_at, INTERVAL @days DAY), MINUTE)) >= 60
  LIMIT @row_limit
)

-- name: restamp_processing_requests
UPDATE processing_requests
SET expires_at = TIMESTAMP_ADD(received_at, INTERVAL @days DAY)
WHERE tenant_id = @tenant_id AND request_id IN (
  SELECT r.request_id
  FROM processing_requests AS r
  WHERE r.tenant_id = @tenant_id
    AND ABS(TIMESTAMP_DIFF(r.expires_at, TIMESTAMP_ADD(r.received_at, INTERVAL @days DAY), MINUTE)) >= 60
  LIMIT @row_limit
)

-- name: restamp_dead_letters
UPDATE dead_letters
SET kept_until = TIMESTAMP_ADD(created_at, INTERVAL @days DAY)
WHERE tenant_id = @tenant_id AND dead_letter_id IN (
  SELECT d.dead_letter_id
  FROM dead_letters AS d
  WHERE d.tenant_id = @tenant_id
    AND TIMESTAMP_DIFF(d.kept_until, TIMESTAMP_ADD(d.created_at, INTERVAL @days DAY), MINUTE) >= 60
  LIMIT @row_limit
)

-- name: remove_call_records
DELETE FROM call_records
WHERE tenant_id = @tenant_id AND call_id IN (
  SELECT c.call_id
  FROM call_records AS c
  WHERE c.tenant_id = @tenant_id AND c.expires_at <= @now
  LIMIT @row_limit
)

-- name: remove_processing_requests
DELETE FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id IN (
  SELECT r.request_id
  FROM processing_requests AS r
  WHERE r.tenant_id = @tenant_id AND r.expires_at <= @now
  LIMIT @row_limit
)

-- name: remove_dead_letters
DELETE FROM dead_letters
WHERE tenant_id = @tenant_id AND dead_letter_id IN (
  SELECT d.dead_letter_id
  FROM dead_letters AS d
  WHERE d.tenant_id = @tenant_id AND d.kept_until <= @now
  LIMIT @row_limit
)
