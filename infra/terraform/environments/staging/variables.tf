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

variable "alert_emails" {
  type        = list(string)
  description = "Who hears of alerts."
  default     = []
}

variable "billing_account" {
  type        = string
  description = "Account whose budget is watched; empty: no budget."
  default     = ""
}

variable "tenants" {
  type        = set(string)
  description = "Tenants whose secrets are made here, without values; `pipeline tenant` makes the others'."
  default     = []
}

variable "settings" {
  type        = map(string)
  description = "More settings for every service, by the names of the README's table."
  default     = {}
}
