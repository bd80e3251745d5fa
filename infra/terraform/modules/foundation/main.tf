# What everything else stands on: APIs, encryption keys, the network.

locals {
  # The guide's list without what never existed or is gone (cloudrun, ml, clouddebugger, storage-component) and with
  # what it forgot. See README.md.
  apis = toset([
    "aiplatform.googleapis.com", "artifactregistry.googleapis.com", "bigquery.googleapis.com",
    "binaryauthorization.googleapis.com", "billingbudgets.googleapis.com", "certificatemanager.googleapis.com",
    "cloudbuild.googleapis.com", "cloudkms.googleapis.com", "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com", "cloudtrace.googleapis.com", "compute.googleapis.com", "dns.googleapis.com",
    "iam.googleapis.com", "logging.googleapis.com", "monitoring.googleapis.com", "pubsub.googleapis.com",
    "run.googleapis.com", "secretmanager.googleapis.com", "spanner.googleapis.com", "speech.googleapis.com",
    "storage.googleapis.com", "telemetry.googleapis.com",
  ])
}

resource "google_project_service" "api" {
  for_each           = local.apis
  service            = each.value
  disable_on_destroy = false
}

data "google_project" "this" {
  project_id = var.project_id
}

data "google_storage_project_service_account" "this" {
  depends_on = [google_project_service.api]
}

# --- keys -------------------------------------------------------------------------------------------------------------

resource "google_kms_key_ring" "pipeline" {
  name     = var.key_ring
  location = var.region
  # Regional, not `global` as in the guide: a bucket takes a key of its own location only.
  depends_on = [google_project_service.api]
}

resource "google_kms_crypto_key" "pii" {
  name            = "pii-encryption-key"
  key_ring        = google_kms_key_ring.pipeline.id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = var.key_rotation_period
  lifecycle {
    prevent_destroy = true # without it every tenant's personal data is unreadable for ever
  }
}

resource "google_kms_crypto_key" "audio" {
  name            = "audio-encryption-key"
  key_ring        = google_kms_key_ring.pipeline.id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = var.key_rotation_period
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "storage_agent" {
  crypto_key_id = google_kms_crypto_key.audio.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}

# --- network ----------------------------------------------------------------------------------------------------------

resource "google_compute_network" "pipeline" {
  name                    = "pipeline-vpc"
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
  depends_on              = [google_project_service.api]
}

resource "google_compute_subnetwork" "pipeline" {
  name                     = "pipeline-subnet"
  network                  = google_compute_network.pipeline.id
  region                   = var.region
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "EXCLUDE_ALL_METADATA"
  }
}

# Google's own APIs, and services that take internal traffic only, are reached through the network.
resource "google_dns_managed_zone" "google" {
  for_each    = { "googleapis" = "googleapis.com.", "run" = "run.app." }
  name        = "private-${each.key}"
  dns_name    = each.value
  description = "Private Google Access for ${each.value}"
  visibility  = "private"
  private_visibility_config {
    networks {
      network_url = google_compute_network.pipeline.id
    }
  }
}

resource "google_dns_record_set" "google" {
  for_each     = google_dns_managed_zone.google
  managed_zone = each.value.name
  name         = "*.${each.value.dns_name}"
  type         = "A"
  ttl          = 300
  rrdatas      = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"] # private.googleapis.com
}

resource "google_compute_firewall" "deny_ingress" {
  name      = "pipeline-deny-ingress"
  network   = google_compute_network.pipeline.id
  direction = "INGRESS"
  priority  = 65000
  deny {
    protocol = "all"
  }
  source_ranges = ["0.0.0.0/0"]
}

# A fixed address for what leaves, where a CRM or CallRail account allows listed addresses only.
resource "google_compute_router" "egress" {
  count   = var.egress_through_vpc ? 1 : 0
  name    = "pipeline-router"
  network = google_compute_network.pipeline.id
  region  = var.region
}

resource "google_compute_address" "egress" {
  count  = var.egress_through_vpc ? 1 : 0
  name   = "pipeline-egress"
  region = var.region
}

resource "google_compute_router_nat" "egress" {
  count                              = var.egress_through_vpc ? 1 : 0
  name                               = "pipeline-nat"
  router                             = google_compute_router.egress[0].name
  region                             = var.region
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = google_compute_address.egress[*].self_link
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# --- images -----------------------------------------------------------------------------------------------------------

resource "google_artifact_registry_repository" "pipeline" {
  # checkov:skip=CKV_GCP_84:the image holds no secret and no personal data; encrypted by Google's keys
  repository_id = "pipeline"
  location      = var.region
  format        = "DOCKER"
  description   = "The one image of all services"
  docker_config {
    immutable_tags = true
  }
  depends_on = [google_project_service.api]
}
