# What must not be lost: the database with its backups, the buckets, the secrets.

resource "google_spanner_instance" "pipeline" {
  name                         = var.spanner_instance
  config                       = "regional-${var.region}"
  display_name                 = "Call ingestion pipeline"
  processing_units             = var.spanner_processing_units
  edition                      = "STANDARD"
  default_backup_schedule_type = "NONE" # ours below; Google's default would keep a second one
  # Its backups too: an instance that has one cannot be deleted.
  force_destroy = !var.protected
}

# Tables come from `pipeline migrate` (the job `migrate`), which keeps a journal and can go back; DDL here would be
# applied once and never compared again.
resource "google_spanner_database" "pipeline" {
  # checkov:skip=CKV_GCP_93:encrypted by keys of Google's; what needs a key of ours is sealed by the application first
  # checkov:skip=CKV_GCP_119:var.protected, which is true in prod (tests/architecture/test_infra.py)
  # checkov:skip=CKV_GCP_120:var.protected, which is true in prod (tests/architecture/test_infra.py)
  instance                 = google_spanner_instance.pipeline.name
  name                     = var.spanner_database
  database_dialect         = "GOOGLE_STANDARD_SQL"
  version_retention_period = var.point_in_time_recovery
  enable_drop_protection   = var.protected
  deletion_protection      = var.protected
}

resource "google_spanner_backup_schedule" "daily" {
  instance           = google_spanner_instance.pipeline.name
  database           = google_spanner_database.pipeline.name
  name               = "pipeline-daily-backup"
  retention_duration = "${var.backup_days * 24 * 60 * 60}s"
  spec {
    cron_spec {
      text = "0 2 * * *"
    }
  }
  full_backup_spec {}
}

# --- buckets ----------------------------------------------------------------------------------------------------------

resource "google_storage_bucket" "audio" {
  # checkov:skip=CKV_GCP_62:who reads and writes is in the data access audit logs, which say more than a bucket's access logs
  # checkov:skip=CKV_GCP_78:an erased recording must be gone; a version would keep it
  name                        = "${var.project_id}-audio-files"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected
  versioning {
    enabled = false # a recording that was erased must be gone
  }
  soft_delete_policy {
    retention_duration_seconds = 0 # the same: erasure is a promise to the caller
  }
  encryption {
    default_kms_key_name = var.audio_key
  }
  # Each recording carries the time from which its tenant's retention has passed; the rules are told once, as data.
  dynamic "lifecycle_rule" {
    for_each = jsondecode(file("${path.module}/../../../retention.json")).rules
    content {
      condition {
        matches_prefix         = lifecycle_rule.value.matches_prefix
        days_since_custom_time = lookup(lifecycle_rule.value, "days_since_custom_time", null)
        age                    = lookup(lifecycle_rule.value, "age_days", null)
      }
      action {
        type = lifecycle_rule.value.action
      }
    }
  }
  lifecycle_rule {
    condition {
      age                   = var.audio_nearline_days
      matches_storage_class = ["STANDARD"]
      matches_prefix        = ["recordings/"]
    }
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }
  }
}

resource "google_storage_bucket" "backups" {
  # checkov:skip=CKV_GCP_62:who reads and writes is in the data access audit logs, which say more than a bucket's access logs
  name                        = "${var.project_id}-backups"
  location                    = var.region
  storage_class               = "NEARLINE"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected
  versioning {
    enabled = true
  }
  encryption {
    default_kms_key_name = var.audio_key
  }
  lifecycle_rule {
    condition {
      num_newer_versions = 3
      with_state         = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }
}

# --- secrets ----------------------------------------------------------------------------------------------------------
# Names and places only. Values never pass through Terraform: its state would keep them in the clear.

locals {
  # The guide's five less the two that nothing reads: jwt-signing-key, database-connection.
  shared_secrets = toset(["callrail-api-key", "hubspot-api-key", "salesforce-credentials"])
  tenant_secrets = toset(flatten([
    for tenant in var.tenants : [for kind in ["webhook-secret", "callrail-api-key", "hubspot-token", "salesforce-credentials"] : "${tenant}-${kind}"]
  ]))
}

resource "google_pubsub_topic" "secret_rotation" {
  # checkov:skip=CKV_GCP_83:names of secrets only, encrypted by keys of Google's; what needs a key of ours is sealed by the application first
  name                       = "secret-rotation"
  message_retention_duration = "604800s"
}

resource "google_pubsub_topic_iam_member" "secret_agent" {
  topic  = google_pubsub_topic.secret_rotation.name
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:service-${var.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

# A person rotates at the vendor; the reminder waits here until the console or an alert shows it.
resource "google_pubsub_subscription" "secret_rotation" {
  name                       = "secret-rotation-reminders"
  topic                      = google_pubsub_topic.secret_rotation.id
  message_retention_duration = "604800s"
  expiration_policy {
    ttl = ""
  }
}

resource "google_secret_manager_secret" "secret" {
  for_each  = setunion(local.shared_secrets, local.tenant_secrets)
  secret_id = each.value
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  dynamic "topics" {
    for_each = var.secret_rotation_start == "" ? [] : [google_pubsub_topic.secret_rotation.id]
    content {
      name = topics.value
    }
  }
  dynamic "rotation" {
    for_each = var.secret_rotation_start == "" ? [] : [var.secret_rotation_start]
    content {
      next_rotation_time = rotation.value
      rotation_period    = "7776000s"
    }
  }
  lifecycle {
    ignore_changes = [rotation[0].next_rotation_time] # Google moves it on
  }
  depends_on = [google_pubsub_topic_iam_member.secret_agent]
}
