output "service_names" {
  value = local.service_names
}

output "urls" {
  value = local.urls
}

output "settings" {
  value = local.settings
}

output "services" {
  value = { for name, service in google_cloud_run_v2_service.service : name => service.name }
}
