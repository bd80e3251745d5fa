# Who did what, and what went wrong: logs kept where the services cannot reach them. Fences around it, on request.

resource "google_project_iam_audit_config" "data_access" {
  for_each = toset(["spanner.googleapis.com", "secretmanager.googleapis.com", "cloudkms.googleapis.com", "storage.googleapis.com"])
  project  = var.project_id
  service  = each.value
  audit_log_config {
    log_type = "ADMIN_READ"
  }
  # Reads and writes of Spanner and Storage are the pipeline's own work: a line each would cost more than the calls.
  dynamic "audit_log_config" {
    for_each = contains(["secretmanager.googleapis.com", "cloudkms.googleapis.com"], each.value) || var.audit_all_data ? ["DATA_READ", "DATA_WRITE"] : []
    content {
      log_type = audit_log_config.value
    }
  }
}

resource "google_bigquery_dataset" "logs" {
  # checkov:skip=CKV_GCP_81:logs carry no personal data (docs/security/personal-data.md); encrypted by Google's keys
  dataset_id                      = "pipeline_logs"
  location                        = var.region
  description                     = "Errors of the services"
  default_partition_expiration_ms = var.error_days * 24 * 60 * 60 * 1000
  delete_contents_on_destroy      = true
}

resource "google_logging_project_sink" "errors" {
  name                   = "pipeline-errors-sink"
  destination            = "bigquery.googleapis.com/${google_bigquery_dataset.logs.id}"
  filter                 = "(resource.type=\"cloud_run_revision\" OR resource.type=\"cloud_run_job\") AND severity>=ERROR"
  unique_writer_identity = true
  bigquery_options {
    use_partitioned_tables = true
  }
}

resource "google_bigquery_dataset_iam_member" "errors" {
  dataset_id = google_bigquery_dataset.logs.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_logging_project_sink.errors.writer_identity
}

resource "google_storage_bucket" "audit" {
  # checkov:skip=CKV_GCP_62:it is itself where the logs go
  # checkov:skip=CKV_GCP_78:a retention policy keeps every object; Cloud Storage's versions would add nothing
  name                        = "${var.project_id}-security-audit-logs"
  location                    = var.region
  storage_class               = "NEARLINE"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected
  # A retention policy instead of versions: nothing can be overwritten or deleted before its time.
  # Not where an environment may be taken away again: `force_destroy` cannot delete what is still retained.
  dynamic "retention_policy" {
    for_each = var.protected ? [var.audit_days * 24 * 60 * 60] : []
    content {
      retention_period = retention_policy.value
      is_locked        = true
    }
  }
  lifecycle_rule {
    condition {
      age = var.audit_days + 1
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_logging_project_sink" "audit" {
  # checkov:skip=CKV2_GCP_4:the bucket is locked by var.protected, which is true in prod (tests/architecture/test_infra.py)
  name                   = "security-audit-sink"
  destination            = "storage.googleapis.com/${google_storage_bucket.audit.name}"
  filter                 = "log_id(\"cloudaudit.googleapis.com/activity\") OR log_id(\"cloudaudit.googleapis.com/data_access\") OR log_id(\"cloudaudit.googleapis.com/policy\")"
  unique_writer_identity = true
}

resource "google_storage_bucket_iam_member" "audit" {
  bucket = google_storage_bucket.audit.name
  role   = "roles/storage.objectCreator"
  member = google_logging_project_sink.audit.writer_identity
}

# --- fences, off by default -------------------------------------------------------------------------------------------

resource "google_access_context_manager_service_perimeter" "pipeline" {
  count  = var.access_policy == "" ? 0 : 1
  parent = "accessPolicies/${var.access_policy}"
  name   = "accessPolicies/${var.access_policy}/servicePerimeters/pipeline_perimeter"
  title  = "Pipeline Security Perimeter"
  status {
    resources = ["projects/${var.project_number}"] # the number: the id that the guide gives is refused
    restricted_services = [
      "spanner.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com", "cloudkms.googleapis.com",
      "pubsub.googleapis.com", "speech.googleapis.com", "aiplatform.googleapis.com",
    ]
  }
}

resource "google_binary_authorization_policy" "pipeline" {
  count                         = length(var.image_attestors) == 0 ? 0 : 1
  global_policy_evaluation_mode = "ENABLE"
  default_admission_rule {
    evaluation_mode         = "REQUIRE_ATTESTATION"
    enforcement_mode        = "ENFORCED_BLOCK_AND_AUDIT_LOG"
    require_attestations_by = var.image_attestors
  }
}
