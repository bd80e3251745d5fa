-- name: read_keysets
SELECT purpose, wrapped, version
FROM tenant_keysets
WHERE tenant_id = @tenant_id
ORDER BY purpose

-- name: replace_keyset
UPDATE tenant_keysets
SET wrapped = @wrapped, version = version + 1, updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND purpose = @purpose AND version = @version AND wrapped IS NOT NULL

-- name: destroy_keysets
UPDATE tenant_keysets
SET wrapped = NULL, destroyed_at = PENDING_COMMIT_TIMESTAMP(), updated_at = PENDING_COMMIT_TIMESTAMP()
WHERE tenant_id = @tenant_id AND wrapped IS NOT NULL
