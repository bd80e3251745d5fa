variable "environment" {
  type        = string
  description = "dev, staging or prod: the name that `pipeline --env` takes."
  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "dev, staging or prod."
  }
}

variable "project_id" {
  type        = string
  description = "The project; one for each environment."
}

variable "region" {
  type        = string
  description = "Where everything lies that has a place."
  default     = "us-central1"
}

variable "domain" {
  type        = string
  description = "The receiver's host name; its A record must name the output `address`."
}

variable "image" {
  type        = string
  description = "Only for the very first apply, before there is an image; releases replace it and an apply leaves it alone."
  default     = "us-docker.pkg.dev/cloudrun/container/hello"
}

variable "protected" {
  type        = bool
  description = "Refuse to delete database, services and buckets with content; lock the audit bucket."
  default     = true
}

variable "topic_prefix" {
  type        = string
  description = "Put before the names of topics and subscriptions."
  default     = ""
}

variable "key_ring" {
  type        = string
  description = "Key rings cannot be deleted: a project that had one keeps its name."
  default     = "pipeline-keys"
}

variable "key_rotation_period" {
  type        = string
  description = "90 days."
  default     = "7776000s"
}

variable "subnet_range" {
  type        = string
  description = "The guide's range; Cloud Run takes an address for each instance."
  default     = "10.1.0.0/24"
}

variable "egress_through_vpc" {
  type        = bool
  description = "Send everything through one fixed address (Cloud NAT, about 35 USD a month)."
  default     = false
}

variable "spanner_instance" {
  type        = string
  description = "Name of the instance."
  default     = "pipeline-prod"
}

variable "spanner_database" {
  type        = string
  description = "Name of the database."
  default     = "pipeline-db"
}

variable "spanner_processing_units" {
  type        = number
  description = "100 units serve some 100,000 calls a month. The guide's size is 1000, ten times the price."
  default     = 100
  validation {
    condition     = var.spanner_processing_units % (var.spanner_processing_units < 1000 ? 100 : 1000) == 0
    error_message = "Spanner takes multiples of 100, from 1000 on multiples of 1000."
  }
}

variable "point_in_time_recovery" {
  type        = string
  description = "How far back the database can be read and restored; 7 days are the most."
  default     = "7d"
}

variable "backup_days" {
  type        = number
  description = "How long a daily backup is kept."
  default     = 30
}

variable "audio_nearline_days" {
  type        = number
  description = "When recordings move to the cheaper class."
  default     = 30
}

variable "tenants" {
  type        = set(string)
  description = "Tenants whose secrets are made here, without values; `pipeline tenant` makes the others'."
  default     = []
}

variable "secret_rotation_start" {
  type        = string
  description = "RFC 3339 time of the first reminder to rotate secrets; every 90 days from then. Empty: no reminders."
  default     = ""
}

variable "speech_location" {
  type        = string
  description = "See shared/gateways/speech_capabilities.py."
  default     = "us"
}

variable "vertex_location" {
  type        = string
  description = "Where Gemini runs."
  default     = "us"
}

variable "min_instances" {
  type        = map(number)
  description = "Service → instances kept warm, instead of infra/pipeline.json's. The guide keeps 2 of the receiver."
  default     = {}
}

variable "max_instances" {
  type        = map(number)
  description = "Service → most instances, instead of infra/pipeline.json's. The guide's: 100."
  default     = {}
}

variable "settings" {
  type        = map(string)
  description = "More settings for every service, by the names of the README's table."
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.settings) : startswith(name, "PIPELINE_")])
    error_message = "Settings begin with PIPELINE_."
  }
}

variable "backfill_schedule" {
  type        = string
  description = "When CallRail's own list of calls is compared with ours (UTC)."
  default     = "0 4 * * *"
}

variable "key_rotation_schedule" {
  type        = string
  description = "When every tenant's keyset gets a fresh key (UTC)."
  default     = "0 3 1 */3 *"
}

variable "callrail_ranges" {
  type        = list(string)
  description = "CIDR ranges that webhooks may come from. Empty: anywhere, the signature decides; CallRail publishes no complete list."
  default     = []
}

variable "requests_per_minute" {
  type        = number
  description = "Of one source address; CallRail's webhooks share few of them. 12,000 are twice the guide's load test."
  default     = 12000
}

variable "audit_all_data" {
  type        = bool
  description = "Log every read and write of Spanner and Storage too. Costs more than the pipeline itself."
  default     = false
}

variable "audit_days" {
  type        = number
  description = "How long audit logs are kept; they cannot be deleted before."
  default     = 400
}

variable "error_days" {
  type        = number
  description = "How long errors stay in BigQuery."
  default     = 90
}

variable "access_policy" {
  type        = string
  description = "Number of the organisation's access policy; not empty puts the project into a VPC Service Controls perimeter."
  default     = ""
}

variable "image_attestors" {
  type        = list(string)
  description = "Attestors that must have signed an image (Binary Authorization); empty: none."
  default     = []
}

variable "alert_emails" {
  type        = list(string)
  description = "Who hears of alerts."
  default     = []
}

variable "slack_channel" {
  type        = string
  description = "Channel for alerts, `#alerts`; empty: none."
  default     = ""
}

variable "slack_token" {
  type        = string
  description = "Token of the connected Slack app; give it as TF_VAR_slack_token, never in a file."
  default     = ""
  sensitive   = true
}

variable "billing_account" {
  type        = string
  description = "Account whose budget is watched; empty: no budget."
  default     = ""
}

variable "monthly_budget_usd" {
  type        = number
  description = "Mails go out at 50%, 100% and when 100% are forecast."
  default     = 200
}
