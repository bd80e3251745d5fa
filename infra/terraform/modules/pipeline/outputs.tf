# `terraform output -json` → .pipeline/<environment>.json → `pipeline --env <environment> …`
output "pipeline_environment" {
  value = {
    version     = 1
    environment = var.environment
    settings = merge(
      { for name, value in module.runtime.settings : name => value if name != "PIPELINE_PUSH_AUTH" },
      { PIPELINE_OPERATOR_URL = module.runtime.urls["operator"] },
    )
    webhook_url = "https://${var.domain}/v1/callrail/webhook"
    services    = module.runtime.service_names
    image_base  = "${module.foundation.repository}/ingestion-pipeline"
  }
}

# The address that the domain's A record has to name before the certificate can be issued.
output "address" {
  value = module.edge.address
}
