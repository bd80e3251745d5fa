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
  type        = bool
  description = "Refuse to delete the database and buckets that are not empty."
}

variable "spanner_instance" {
  type = string
}

variable "spanner_database" {
  type = string
}

variable "spanner_processing_units" {
  type = number
}

variable "point_in_time_recovery" {
  type = string
}

variable "backup_days" {
  type = number
}

variable "audio_key" {
  type = string
}

variable "audio_nearline_days" {
  type = number
}

variable "tenants" {
  type = set(string)
}

variable "secret_rotation_start" {
  type = string
}
