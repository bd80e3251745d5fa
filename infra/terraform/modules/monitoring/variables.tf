variable "project_number" {
  type = string
}

variable "alert_emails" {
  type = list(string)
}

variable "slack_channel" {
  type = string
}

variable "slack_token" {
  type      = string
  sensitive = true
}

variable "billing_account" {
  type = string
}

variable "monthly_budget_usd" {
  type = number
}
