# One Cloud Run service for each entry of infra/pipeline.json, and the jobs that people and the release run.

locals {
  pipeline = jsondecode(file("${path.module}/../../../pipeline.json"))
  services = local.pipeline.services
  # Cloud Run's names take no underscores.
  service_names = { for name, _ in local.services : name => "pipeline-${replace(name, "_", "-")}" }
  # Cloud Run's second, predictable form of a service's address. Its own output would be a circle: the audience that a
  # service checks is one of its variables.
  urls = { for name, service in local.service_names : name => "https://${service}-${var.project_number}.${var.region}.run.app" }

  settings = merge({
    GOOGLE_CLOUD_PROJECT      = var.project_id
    PIPELINE_ENVIRONMENT      = "google"
    PIPELINE_REGION           = var.region
    PIPELINE_SPANNER_INSTANCE = var.spanner_instance
    PIPELINE_SPANNER_DATABASE = var.spanner_database
    PIPELINE_AUDIO_BUCKET     = var.audio_bucket
    PIPELINE_PII_KEY          = var.pii_key
    PIPELINE_TOPIC_PREFIX     = var.topic_prefix
    PIPELINE_SPEECH_LOCATION  = var.speech_location
    PIPELINE_VERTEX_LOCATION  = var.vertex_location
    PIPELINE_PUSH_AUTH        = "platform"
    PIPELINE_TRACES           = "google"
    PIPELINE_METRICS          = "google"
  }, var.settings)

  # Who may call a service, which checks the same itself: Pub/Sub; at the operator, the scheduler and the receiver.
  callers = {
    for name, service in local.services : name => (
      service.role == "operator" ? ["scheduler", "webhook"] : length(service.subscribes) > 0 ? ["push"] : []
    )
  }
  own_settings = {
    for name, _ in local.services : name => merge(
      { FUNCTION_TARGET = name },
      name == "webhook" ? { PIPELINE_OPERATOR_URL = local.urls["operator"] } : {},
      length(local.callers[name]) == 0 ? {} : {
        PIPELINE_PUSH_AUDIENCE        = local.urls[name]
        PIPELINE_PUSH_SERVICE_ACCOUNT = join(",", [for caller in local.callers[name] : local.accounts[caller]])
      },
    )
  }
}

resource "google_cloud_run_v2_service" "service" {
  for_each             = local.services
  name                 = local.service_names[each.key]
  location             = var.region
  ingress              = each.value.role == "receiver" ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection  = var.protected
  custom_audiences     = [local.urls[each.key]]
  invoker_iam_disabled = false
  labels               = { stage = replace(each.key, "_", "-") }

  template {
    service_account                  = google_service_account.service[each.key].email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${each.value.timeout_s}s"
    max_instance_request_concurrency = each.value.concurrency
    scaling {
      min_instance_count = lookup(var.min_instances, each.key, each.value.min_instances)
      max_instance_count = lookup(var.max_instances, each.key, each.value.max_instances)
    }
    vpc_access {
      egress = var.egress_through_vpc ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = var.network
        subnetwork = var.subnet
      }
    }
    containers {
      image = var.image
      ports {
        container_port = 8080
      }
      resources {
        limits            = { cpu = tostring(each.value.cpu), memory = each.value.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      dynamic "env" {
        for_each = merge(local.settings, local.own_settings[each.key])
        content {
          name  = env.key
          value = env.value
        }
      }
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30
        http_get {
          path = "/livez"
          port = 8080
        }
      }
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/livez"
          port = 8080
        }
      }
    }
  }

  lifecycle {
    # Releases change image and traffic (cloudbuild.yaml); an apply must not take them back. The revision's name, which
    # a release gives, is taken away: sent back with any change it is a name used twice, which Cloud Run refuses (409).
    ignore_changes = [template[0].containers[0].image, traffic, client, client_version]
  }
  depends_on = [google_project_iam_member.service]
}

# CallRail has no Google identity: the receiver checks its signature. Behind the load balancer only (`ingress`).
resource "google_cloud_run_v2_service_iam_member" "callrail" {
  name     = google_cloud_run_v2_service.service["webhook"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}

resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = merge([
    for name, callers in local.callers : { for caller in callers : "${name}/${caller}" => { service = name, caller = caller } }
  ]...)
  name     = google_cloud_run_v2_service.service[each.value.service].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "serviceAccount:${local.accounts[each.value.caller]}"
}

# --- jobs -------------------------------------------------------------------------------------------------------------

locals {
  jobs = {
    migrate     = { arguments = ["migrate"], timeout = "3600s" }
    rotate-keys = { arguments = ["keys", "rotate", "--all"], timeout = "1800s" }
  }
}

resource "google_cloud_run_v2_job" "job" {
  for_each            = local.jobs
  name                = "pipeline-${each.key}"
  location            = var.region
  deletion_protection = var.protected
  template {
    template {
      service_account       = google_service_account.job[each.key].email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      max_retries           = 1
      timeout               = each.value.timeout
      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = var.network
          subnetwork = var.subnet
        }
      }
      containers {
        image   = var.image
        command = ["python", "-c", "from handlers.cli.main import main; main()"]
        args    = each.value.arguments
        resources {
          limits = { cpu = "1", memory = "1Gi" }
        }
        dynamic "env" {
          # A job is called by nobody: how push tokens are checked does not concern it.
          for_each = { for name, value in local.settings : name => value if name != "PIPELINE_PUSH_AUTH" }
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }
  lifecycle {
    ignore_changes = [template[0].template[0].containers[0].image, client, client_version]
  }
  depends_on = [google_project_iam_member.job]
}

resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  name     = google_cloud_run_v2_job.job["rotate-keys"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "serviceAccount:${local.accounts["scheduler"]}"
}

# --- schedule ---------------------------------------------------------------------------------------------------------

locals {
  visits = {
    sweep    = { schedule = "*/5 * * * *", path = "/internal/sweep" }
    backfill = { schedule = var.backfill_schedule, path = "/internal/backfill" }
  }
}

resource "google_cloud_scheduler_job" "visit" {
  for_each         = local.visits
  name             = "pipeline-${each.key}"
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.services["operator"].timeout_s}s"
  retry_config {
    retry_count          = 2
    min_backoff_duration = "10s"
  }
  http_target {
    http_method = "POST"
    uri         = "${local.urls["operator"]}${each.value.path}"
    oidc_token {
      service_account_email = local.accounts["scheduler"]
      audience              = local.urls["operator"]
    }
  }
  depends_on = [google_cloud_run_v2_service.service]
}

resource "google_cloud_scheduler_job" "rotate_keys" {
  name      = "pipeline-rotate-keys"
  region    = var.region
  schedule  = var.key_rotation_schedule
  time_zone = "Etc/UTC"
  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.job["rotate-keys"].id}:run"
    oauth_token {
      service_account_email = local.accounts["scheduler"]
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}
