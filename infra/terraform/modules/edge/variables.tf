variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

variable "domain" {
  type = string
}

variable "webhook_service" {
  type = string
}

variable "callrail_ranges" {
  type = list(string)
}

variable "requests_per_minute" {
  type = number
}
