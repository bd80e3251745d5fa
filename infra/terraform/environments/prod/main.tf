# Environment prod. State: bucket <project>-terraform-state, made by infra/terraform/bootstrap; see README.md there.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }
  # terraform init -backend-config="bucket=<project>-terraform-state"
  backend "gcs" {
    prefix = "pipeline/prod"
  }
}

provider "google" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
  default_labels        = { application = "call-ingestion-pipeline", environment = "prod" }
}

module "pipeline" {
  source                   = "../../modules/pipeline"
  environment              = "prod"
  protected                = true
  project_id               = var.project_id
  region                   = var.region
  domain                   = var.domain
  spanner_database         = var.spanner_database
  spanner_processing_units = var.spanner_processing_units
  min_instances            = var.min_instances
  max_instances            = var.max_instances
  settings                 = var.settings
  tenants                  = var.tenants
  secret_rotation_start    = var.secret_rotation_start
  egress_through_vpc       = var.egress_through_vpc
  callrail_ranges          = var.callrail_ranges
  audit_all_data           = var.audit_all_data
  access_policy            = var.access_policy
  image_attestors          = var.image_attestors
  alert_emails             = var.alert_emails
  slack_channel            = var.slack_channel
  slack_token              = var.slack_token
  billing_account          = var.billing_account
  monthly_budget_usd       = var.monthly_budget_usd
}

output "pipeline_environment" {
  value = module.pipeline.pipeline_environment
}

output "address" {
  value = module.pipeline.address
}
