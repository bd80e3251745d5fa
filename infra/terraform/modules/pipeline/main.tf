# The whole pipeline in one project. Environments call this and differ in variables only.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0" # the version whose schema the tests hold; see README.md before changing it
    }
  }
}

module "foundation" {
  source              = "../foundation"
  project_id          = var.project_id
  region              = var.region
  key_ring            = var.key_ring
  key_rotation_period = var.key_rotation_period
  subnet_range        = var.subnet_range
  egress_through_vpc  = var.egress_through_vpc
}

module "data" {
  source                   = "../data"
  project_id               = var.project_id
  project_number           = module.foundation.project_number
  region                   = var.region
  protected                = var.protected
  spanner_instance         = var.spanner_instance
  spanner_database         = var.spanner_database
  spanner_processing_units = var.spanner_processing_units
  point_in_time_recovery   = var.point_in_time_recovery
  backup_days              = var.backup_days
  audio_key                = module.foundation.audio_key
  audio_nearline_days      = var.audio_nearline_days
  tenants                  = var.tenants
  secret_rotation_start    = var.secret_rotation_start
}

module "runtime" {
  source                = "../runtime"
  project_id            = var.project_id
  project_number        = module.foundation.project_number
  region                = var.region
  protected             = var.protected
  image                 = var.image
  topic_prefix          = var.topic_prefix
  spanner_instance      = module.data.spanner_instance
  spanner_database      = module.data.spanner_database
  audio_bucket          = module.data.audio_bucket
  pii_key               = module.foundation.pii_key
  storage_agent         = module.foundation.storage_agent
  network               = module.foundation.network
  subnet                = module.foundation.subnet
  egress_through_vpc    = var.egress_through_vpc
  speech_location       = var.speech_location
  vertex_location       = var.vertex_location
  min_instances         = var.min_instances
  max_instances         = var.max_instances
  settings              = var.settings
  backfill_schedule     = var.backfill_schedule
  key_rotation_schedule = var.key_rotation_schedule
}

module "edge" {
  source              = "../edge"
  project_id          = var.project_id
  region              = var.region
  domain              = var.domain
  webhook_service     = module.runtime.services["webhook"]
  callrail_ranges     = var.callrail_ranges
  requests_per_minute = var.requests_per_minute
}

module "audit" {
  source          = "../audit"
  project_id      = var.project_id
  project_number  = module.foundation.project_number
  region          = var.region
  protected       = var.protected
  audit_all_data  = var.audit_all_data
  audit_days      = var.audit_days
  error_days      = var.error_days
  access_policy   = var.access_policy
  image_attestors = var.image_attestors
}

module "monitoring" {
  source             = "../monitoring"
  project_number     = module.foundation.project_number
  alert_emails       = var.alert_emails
  slack_channel      = var.slack_channel
  slack_token        = var.slack_token
  billing_account    = var.billing_account
  monthly_budget_usd = var.monthly_budget_usd
}
