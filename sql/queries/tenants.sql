-- name: by_id
SELECT tenant_id, name, status, config
FROM tenants
WHERE tenant_id = @tenant_id AND status != 'system'

-- name: by_route
-- across tenants: a webhook names a company or an address, and the answer is which tenant it belongs to
-- Two columns and no more: the receiver's role may read no others.
SELECT t.tenant_id, t.intake
FROM tenant_routes@{FORCE_INDEX=tenant_routes_by_value} AS r
JOIN tenants AS t ON t.tenant_id = r.tenant_id
WHERE r.route_kind = @route_kind AND r.route_value = @route_value

-- name: show
SELECT t.tenant_id, t.name, t.status, t.config, t.created_at, t.updated_at,
  ARRAY(
    SELECT AS STRUCT i.provider, i.status, i.status_reason
    FROM crm_integrations AS i
    WHERE i.tenant_id = @tenant_id
    ORDER BY i.provider
  ) AS integrations
FROM tenants AS t
WHERE t.tenant_id = @tenant_id AND t.status != 'system'

-- name: list_tenants
-- across tenants: the operator's list of all customers
SELECT tenant_id, name, status, created_at, updated_at
FROM tenants
WHERE status != 'system'
ORDER BY tenant_id

-- name: route_owners
-- across tenants: a company or an address may belong to one tenant only, so the owner may be another one
SELECT tenant_id, route_kind, route_value
FROM tenant_routes@{FORCE_INDEX=tenant_routes_by_value}
WHERE (route_kind = 'company' AND route_value IN UNNEST(@companies))
  OR (route_kind = 'token' AND route_value IN UNNEST(@tokens))
ORDER BY route_kind, route_value

-- name: routes_of
SELECT route_kind, route_value
FROM tenant_routes
WHERE tenant_id = @tenant_id

-- name: integrations_of
SELECT provider
FROM crm_integrations
WHERE tenant_id = @tenant_id

-- name: set_status
UPDATE tenants
SET status = @status, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND status NOT IN ('system', 'offboarded')

-- name: forget_test
-- Its stage runs and ledger lines go with it. A real call's request is of another kind and stays, whatever id is given.
DELETE FROM processing_requests
WHERE tenant_id = @tenant_id AND request_id = @request_id AND kind = 'unknown'

-- name: retention_of
SELECT retention_days
FROM tenants
WHERE tenant_id = @tenant_id
