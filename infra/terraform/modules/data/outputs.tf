output "spanner_instance" {
  value = google_spanner_instance.pipeline.name
}

output "spanner_database" {
  value = google_spanner_database.pipeline.name
}

output "audio_bucket" {
  value = google_storage_bucket.audio.name
}
