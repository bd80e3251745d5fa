# Topics and subscriptions of infra/pipeline.json, and what Google's own agents need for them.

locals {
  pushes = merge([
    for name, service in local.services : {
      for item in service.subscribes : item.subscription => merge(
        { service = name, retention_days = 7 }, item,
        { for key, value in service : key => value if !contains(["subscribes", "publishes"], key) },
      )
    }
  ]...)
  dead_letters = "dead-letters"
  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "topic" {
  # checkov:skip=CKV_GCP_83:encrypted by keys of Google's; what needs a key of ours is sealed by the application first
  for_each                   = toset(local.pipeline.topics)
  name                       = "${var.topic_prefix}${each.value}"
  message_retention_duration = "604800s"
}

resource "google_pubsub_subscription" "push" {
  for_each                   = local.pushes
  name                       = "${var.topic_prefix}${each.key}"
  topic                      = google_pubsub_topic.topic[each.value.topic].id
  ack_deadline_seconds       = each.value.ack_deadline_s
  message_retention_duration = "${each.value.retention_days * 24 * 60 * 60}s"
  expiration_policy {
    ttl = "" # never: 31 quiet days would delete it
  }
  push_config {
    push_endpoint = local.urls[each.value.service]
    oidc_token {
      service_account_email = local.accounts["push"]
      audience              = local.urls[each.value.service]
    }
  }
  retry_policy {
    minimum_backoff = "${each.value.min_backoff_s}s"
    maximum_backoff = "${each.value.max_backoff_s}s"
  }
  # What the recorder of dead letters itself cannot take stays in its subscription, and in the archive.
  dynamic "dead_letter_policy" {
    for_each = each.value.topic == local.dead_letters ? [] : [each.value.max_delivery_attempts]
    content {
      dead_letter_topic     = google_pubsub_topic.topic[local.dead_letters].id
      max_delivery_attempts = dead_letter_policy.value
    }
  }
  depends_on = [google_cloud_run_v2_service_iam_member.caller]
}

resource "google_pubsub_subscription" "archive" {
  for_each                   = { for item in local.pipeline.archives : item.subscription => item }
  name                       = "${var.topic_prefix}${each.key}"
  topic                      = google_pubsub_topic.topic[each.value.topic].id
  message_retention_duration = "${each.value.retention_days * 24 * 60 * 60}s"
  expiration_policy {
    ttl = ""
  }
}

# Dead-lettering is done by Pub/Sub's agent: without these two grants the policy is ignored.
resource "google_pubsub_topic_iam_member" "dead_lettering" {
  topic  = google_pubsub_topic.topic[local.dead_letters].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_lettering" {
  for_each     = { for name, push in local.pushes : name => push if push.topic != local.dead_letters }
  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account_iam_member" "push_tokens" {
  service_account_id = google_service_account.caller["push"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}

# --- Speech's output --------------------------------------------------------------------------------------------------

resource "google_pubsub_topic_iam_member" "storage_agent" {
  topic  = google_pubsub_topic.topic["transcription-output"].name
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${var.storage_agent}"
}

resource "google_storage_notification" "transcripts" {
  bucket             = var.audio_bucket
  topic              = google_pubsub_topic.topic["transcription-output"].id
  payload_format     = "JSON_API_V1"
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "transcripts/"
  depends_on         = [google_pubsub_topic_iam_member.storage_agent]
}
