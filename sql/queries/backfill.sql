-- name: known_calls
SELECT 'started' AS fact, request_id AS id
FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id IN UNNEST(@request_ids)
UNION ALL
SELECT 'seen' AS fact, call_id AS id
FROM call_records
WHERE tenant_id = @tenant_id AND call_id IN UNNEST(@call_ids)

-- name: finished_days
SELECT day, listed_from, listed_until, listed_calls, had_calls, never_seen_calls, never_started_calls, recovered_calls
FROM backfill_days
WHERE tenant_id = @tenant_id AND day BETWEEN @since AND @until

-- name: clear_finished
DELETE FROM backfill_days
WHERE tenant_id = @tenant_id AND day BETWEEN @since AND @until

-- name: update_report
UPDATE reconciliation_reports
SET state = @state, provider_calls = @provider_calls, our_calls = @our_calls, missing_calls = @missing_calls,
  recovered_calls = recovered_calls + @recovered_calls, waiting_calls = @waiting_calls,
  refused_calls = @refused_calls, listed_until = @listed_until,
  error_code = NULL, error_detail = NULL, error_fix = NULL, looked_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND day = @day

-- name: insert_report
INSERT INTO reconciliation_reports (tenant_id, day, state, provider_calls, our_calls, missing_calls, recovered_calls,
  waiting_calls, refused_calls, listed_until, created_at, looked_at)
VALUES (@tenant_id, @day, @state, @provider_calls, @our_calls, @missing_calls, @recovered_calls,
  @waiting_calls, @refused_calls, @listed_until, PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())

-- name: update_stopped
UPDATE reconciliation_reports
SET state = @state, recovered_calls = recovered_calls + @recovered_calls,
  error_code = @error_code, error_detail = @error_detail, error_fix = @error_fix,
  looked_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND day = @day

-- name: insert_stopped
INSERT INTO reconciliation_reports (tenant_id, day, state, provider_calls, our_calls, missing_calls, recovered_calls,
  waiting_calls, refused_calls, error_code, error_detail, error_fix, created_at, looked_at)
VALUES (@tenant_id, @day, @state, 0, 0, 0, @recovered_calls,
  0, 0, @error_code, @error_detail, @error_fix, PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())

-- name: reports
SELECT day, state, provider_calls, our_calls, missing_calls, recovered_calls, waiting_calls, refused_calls,
  listed_until, error_code, error_detail, error_fix, looked_at
FROM reconciliation_reports
WHERE tenant_id = @tenant_id AND day >= @since
ORDER BY day DESC

-- name: due_tenants
-- across tenants: the scheduled reconciliation serves every customer, the one looked at longest ago first
-- Older days that never came to their end are looked at every few hours: what holds them up may need a person.
SELECT t.tenant_id, t.name, t.status, t.config,
  ARRAY(
    SELECT r.day
    FROM reconciliation_reports AS r
    WHERE r.tenant_id = t.tenant_id AND r.day >= @since AND r.state = 'complete'
  ) AS complete_days,
  ARRAY(
    SELECT r.day
    FROM reconciliation_reports AS r
    WHERE r.tenant_id = t.tenant_id AND r.day >= @oldest AND r.day < @since AND r.state != 'complete'
      AND (r.state = 'blocked' OR r.looked_at <= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 6 HOUR))
  ) AS unfinished_days,
  (
    SELECT MAX(r.day)
    FROM reconciliation_reports AS r
    WHERE r.tenant_id = t.tenant_id AND r.day >= @oldest
  ) AS newest_day,
  (
    SELECT MAX(r.looked_at)
    FROM reconciliation_reports AS r
    WHERE r.tenant_id = t.tenant_id AND r.day >= @since
  ) AS looked_at
FROM tenants AS t
WHERE t.status = 'active'
ORDER BY looked_at, t.tenant_id
