output "project_number" {
  value = data.google_project.this.number
}

output "pii_key" {
  value = google_kms_crypto_key.pii.id
}

output "audio_key" {
  value      = google_kms_crypto_key.audio.id
  depends_on = [google_kms_crypto_key_iam_member.storage_agent]
}

output "storage_agent" {
  value = data.google_storage_project_service_account.this.email_address
}

output "network" {
  value = google_compute_network.pipeline.id
}

output "subnet" {
  value = google_compute_subnetwork.pipeline.id
}

output "repository" {
  value = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.pipeline.repository_id}"
}
