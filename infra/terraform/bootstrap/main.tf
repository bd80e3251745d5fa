# Once for each project, before its first apply: the bucket that holds Terraform's state (its own state stays a file).

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "region" {
  type        = string
  description = "Where the state lies."
  default     = "us-central1"
}

provider "google" {
  project = var.project_id
  region  = var.region
}

resource "google_project_service" "first" {
  for_each           = toset(["cloudkms.googleapis.com", "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com"])
  service            = each.value
  disable_on_destroy = false
}

data "google_storage_project_service_account" "this" {
  depends_on = [google_project_service.first]
}

resource "google_kms_key_ring" "state" {
  name       = "terraform-state"
  location   = var.region
  depends_on = [google_project_service.first]
}

resource "google_kms_crypto_key" "state" {
  name            = "state-encryption-key"
  key_ring        = google_kms_key_ring.state.id
  rotation_period = "7776000s"
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "storage_agent" {
  crypto_key_id = google_kms_crypto_key.state.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}

resource "google_storage_bucket" "state" {
  # checkov:skip=CKV_GCP_62:who reads and writes is in the data access audit logs, which say more than a bucket's access logs
  name                        = "${var.project_id}-terraform-state"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  versioning {
    enabled = true
  }
  encryption {
    default_kms_key_name = google_kms_crypto_key.state.id
  }
  lifecycle_rule {
    condition {
      num_newer_versions = 20
    }
    action {
      type = "Delete"
    }
  }
  depends_on = [google_kms_crypto_key_iam_member.storage_agent]
}

output "state_bucket" {
  value = google_storage_bucket.state.name
}
