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

variable "spanner_database" {
  type        = string
  description = "Name of the database; after a restore the copy's (docs/operations/disaster-recovery.md)."
  default     = "pipeline-db"
}

variable "spanner_processing_units" {
  type        = number
  description = "100 units serve some 100,000 calls a month. The guide's size is 1000, ten times the price."
  default     = 100
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

variable "egress_through_vpc" {
  type        = bool
  description = "Send everything through one fixed address (Cloud NAT, about 35 USD a month)."
  default     = false
}

variable "callrail_ranges" {
  type        = list(string)
  description = "CIDR ranges that webhooks may come from. Empty: anywhere, the signature decides; CallRail publishes no complete list."
  default     = []
}

variable "audit_all_data" {
  type        = bool
  description = "Log every read and write of Spanner and Storage too. Costs more than the pipeline itself."
  default     = false
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
