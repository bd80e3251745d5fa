# Environment staging. State: bucket <project>-terraform-state, made by infra/terraform/bootstrap; see README.md there.

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
    prefix = "pipeline/staging"
  }
}

provider "google" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
  default_labels        = { application = "call-ingestion-pipeline", environment = "staging" }
}

module "pipeline" {
  source           = "../../modules/pipeline"
  environment      = "staging"
  protected        = false
  spanner_instance = "pipeline-staging"
  min_instances    = { webhook = 0 }
  backup_days      = 7
  project_id       = var.project_id
  region           = var.region
  domain           = var.domain
  alert_emails     = var.alert_emails
  billing_account  = var.billing_account
  settings         = var.settings
  tenants          = var.tenants
}

output "pipeline_environment" {
  value = module.pipeline.pipeline_environment
}

output "address" {
  value = module.pipeline.address
}
