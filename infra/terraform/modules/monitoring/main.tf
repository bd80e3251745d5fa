# Metrics, alerts, objectives and the dashboard of infra/monitoring/*.json, who hears of them, and the budget.

locals {
  folder    = "${path.module}/../../../monitoring"
  metrics   = { for item in jsondecode(file("${local.folder}/metrics.json")).log_based : item.name => item }
  alerts    = { for item in jsondecode(file("${local.folder}/alerts.json")).alerts : item.id => item }
  slos      = { for item in jsondecode(file("${local.folder}/slos.json")).slos : item.id => item }
  dashboard = file("${local.folder}/dashboard.json")
  burns = merge([
    for id, slo in local.slos : { for burn in slo.burn_rates : "${id}-${burn.window_s}" => merge(burn, { slo = id }) }
  ]...)
  channels = concat(
    [for channel in google_monitoring_notification_channel.email : channel.id],
    google_monitoring_notification_channel.slack[*].id,
  )
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.alert_emails)
  display_name = "Pipeline alerts ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

# The token of the Slack app that was connected in the console; a webhook URL, as in the guide, is no such token.
resource "google_monitoring_notification_channel" "slack" {
  count        = var.slack_channel == "" ? 0 : 1
  display_name = "Pipeline alerts Slack"
  type         = "slack"
  labels       = { channel_name = var.slack_channel }
  sensitive_labels {
    auth_token = var.slack_token
  }
}

resource "google_logging_metric" "metric" {
  for_each         = local.metrics
  name             = each.value.name
  description      = each.value.description
  filter           = each.value.filter
  label_extractors = each.value.labels
  value_extractor  = lookup(each.value, "value_extractor", null)
  metric_descriptor {
    metric_kind = each.value.metric_kind
    value_type  = each.value.value_type
    unit        = each.value.unit
    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each              = local.alerts
  display_name          = each.value.display_name
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = { id = replace(each.key, "_", "-") }
  documentation {
    mime_type = "text/markdown"
    subject   = each.value.display_name
    content   = "${each.value.summary}\n\nWhat to do: ${each.value.runbook}"
  }
  conditions {
    display_name = each.value.display_name
    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.duration_s}s"
      evaluation_interval = "${each.value.evaluation_interval_s}s"
      # On the day of the first apply no service has sent a metric yet.
      disable_metric_validation = true
    }
  }
  alert_strategy {
    auto_close = "86400s"
  }
  depends_on = [google_logging_metric.metric]
}

resource "google_monitoring_custom_service" "pipeline" {
  service_id   = "call-ingestion-pipeline"
  display_name = "Call ingestion pipeline"
}

resource "google_monitoring_slo" "slo" {
  for_each            = local.slos
  service             = google_monitoring_custom_service.pipeline.service_id
  slo_id              = replace(each.key, "_", "-")
  display_name        = each.value.display_name
  goal                = each.value.goal
  rolling_period_days = each.value.rolling_days
  request_based_sli {
    dynamic "good_total_ratio" {
      for_each = contains(keys(each.value), "good_filter") ? [each.value] : []
      content {
        good_service_filter  = good_total_ratio.value.good_filter
        total_service_filter = good_total_ratio.value.total_filter
      }
    }
    dynamic "distribution_cut" {
      for_each = contains(keys(each.value), "distribution_cut") ? [each.value.distribution_cut] : []
      content {
        distribution_filter = distribution_cut.value.filter
        range {
          max = distribution_cut.value.max
        }
      }
    }
  }
}

resource "google_monitoring_alert_policy" "burn" {
  for_each              = local.burns
  display_name          = "Error budget burns: ${local.slos[each.value.slo].display_name}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  conditions {
    display_name = "More than ${each.value.rate} times as fast as the budget allows, over ${each.value.window_s} s"
    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.slo[each.value.slo].name}\", \"${each.value.window_s}s\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.rate
      duration        = "0s"
    }
  }
}

resource "google_monitoring_dashboard" "pipeline" {
  dashboard_json = local.dashboard
}

resource "google_billing_budget" "month" {
  count           = var.billing_account == "" ? 0 : 1
  billing_account = var.billing_account
  display_name    = "Call ingestion pipeline"
  budget_filter {
    projects = ["projects/${var.project_number}"]
  }
  amount {
    specified_amount {
      currency_code = "USD"
      units         = tostring(var.monthly_budget_usd)
    }
  }
  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 1
  }
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }
}
