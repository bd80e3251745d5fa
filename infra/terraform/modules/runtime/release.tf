# Who releases: Cloud Build runs cloudbuild.yaml as this account, which changes services and reads no call.

resource "google_service_account" "build" {
  account_id   = "pipeline-build"
  display_name = "Pipeline: Cloud Build"
}

resource "google_project_iam_member" "build" {
  for_each = toset([
    "roles/run.developer",           # deploy, run the migration, shift traffic
    "roles/artifactregistry.writer", # push and tag the image
    "roles/ondemandscanning.admin",  # look for weaknesses before it is pushed
    "roles/monitoring.viewer",       # the error rate while traffic is shifted
    "roles/logging.logWriter",       # the build's own log
  ])
  project = var.project_id
  role    = each.value
  member  = google_service_account.build.member
}

# A new revision runs as its service's account: whoever deploys must be allowed to name it.
resource "google_service_account_iam_member" "build" {
  for_each           = merge(google_service_account.service, google_service_account.job)
  service_account_id = each.value.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.build.member
}

# Where `gcloud builds submit` puts the commit. A bucket of its own, because Cloud Build's usual one goes with
# roles/cloudbuild.builds.builder on the project, which opens every bucket, the recordings' too.
resource "google_storage_bucket" "build_sources" {
  # checkov:skip=CKV_GCP_62:it holds copies of commits, which the repository keeps anyway
  name                        = "${var.project_id}-build-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  versioning {
    enabled = true
  }
  lifecycle_rule {
    condition {
      age = 30
    }
    action {
      type = "Delete"
    }
  }
  # With versioning on, a deleted object stays as an old version until this.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 1
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_storage_bucket_iam_member" "build_sources" {
  bucket = google_storage_bucket.build_sources.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}
