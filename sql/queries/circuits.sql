-- name: read_circuit
SELECT tenant_id, vendor, state, failures, probe_at, reason, detail, fix
FROM vendor_circuits
WHERE tenant_id = @tenant_id AND vendor = @vendor

-- name: read_circuits
SELECT tenant_id, vendor, state, failures, probe_at, reason, detail, fix
FROM vendor_circuits
WHERE tenant_id = @tenant_id
ORDER BY vendor

-- name: claim_probe
UPDATE vendor_circuits
SET probe_at = @next_probe_at, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND vendor = @vendor AND probe_at = @probe_at AND state != 'closed'

-- name: close_circuit
UPDATE vendor_circuits
SET state = 'closed', failures = 0, reason = NULL, detail = NULL, fix = NULL,
  updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND vendor = @vendor

-- name: wake_runs
UPDATE stage_runs
SET due_at = @now, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND vendor = @vendor AND state IN ('blocked', 'deferred')
