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

variable "image" {
  type = string
}

variable "topic_prefix" {
  type = string
}

variable "spanner_instance" {
  type = string
}

variable "spanner_database" {
  type = string
}

variable "audio_bucket" {
  type = string
}

variable "pii_key" {
  type = string
}

variable "storage_agent" {
  type = string
}

variable "network" {
  type = string
}

variable "subnet" {
  type = string
}

variable "egress_through_vpc" {
  type = bool
}

variable "speech_location" {
  type = string
}

variable "vertex_location" {
  type = string
}

variable "min_instances" {
  type = map(number)
}

variable "max_instances" {
  type = map(number)
}

variable "settings" {
  type = map(string)
}

variable "backfill_schedule" {
  type = string
}

variable "key_rotation_schedule" {
  type = string
}
