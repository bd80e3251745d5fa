variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

variable "key_ring" {
  type        = string
  description = "Key rings cannot be deleted: a project that had one keeps its name."
}

variable "key_rotation_period" {
  type = string
}

variable "subnet_range" {
  type = string
}

variable "egress_through_vpc" {
  type = bool
}
