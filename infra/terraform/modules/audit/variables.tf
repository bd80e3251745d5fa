variable "project_id" {
  type = string
}

variable "project_number" {
  type = string
}

variable "region" {
  type = string
}

variable "protected" {
  type = bool
}

variable "audit_all_data" {
  type = bool
}

variable "audit_days" {
  type = number
}

variable "error_days" {
  type = number
}

variable "access_policy" {
  type = string
}

variable "image_attestors" {
  type = list(string)
}
