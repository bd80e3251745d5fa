# One service account for each service, with what its gateways call and nothing else (docs/operations/infrastructure.md).

locals {
  # Role of the audio bucket → who. Objects are made, read and deleted, never listed by the receiver.
  storage_roles = {
    webhook    = "roles/storage.objectCreator"
    download   = "roles/storage.objectUser"
    transcribe = "roles/storage.objectUser"
    operator   = "roles/storage.objectUser"
  }
  readers_of_secrets = toset(["webhook", "download", "crm_sync", "operator"])
  # The receiver reads no personal data: it has no access to the key.
  openers_of_keysets = toset(["download", "transcribe", "analyze", "crm_sync", "dead_letter", "operator"])
  project_roles = {
    transcribe = ["roles/speech.client"]
    analyze    = ["roles/aiplatform.user"]
  }
  telemetry_roles = ["roles/cloudtrace.agent", "roles/logging.logWriter", "roles/monitoring.metricWriter", "roles/telemetry.writer"]
  publishes = merge([
    for name, service in local.services : {
      # Dead letters are published by whoever gives a call up.
      for topic in distinct(concat(service.publishes, service.role == "receiver" || service.role == "recorder" ? [] : [local.dead_letters])) :
      "${name}/${topic}" => { service = name, topic = topic }
    }
  ]...)
  accounts = { for name, account in merge(google_service_account.caller, google_service_account.service, google_service_account.job) : name => account.email }
}

resource "google_service_account" "service" {
  for_each     = local.services
  account_id   = local.service_names[each.key]
  display_name = "Pipeline: ${each.key}"
}

resource "google_service_account" "caller" {
  for_each     = { push = "Pub/Sub's pushes", scheduler = "Cloud Scheduler" }
  account_id   = "pipeline-${each.key}"
  display_name = "Pipeline: ${each.value}"
}

resource "google_service_account" "job" {
  for_each     = local.jobs
  account_id   = "pipeline-${each.key}"
  display_name = "Pipeline: job ${each.key}"
}

resource "google_project_iam_member" "service" {
  for_each = merge([
    for name, _ in local.services : { for role in concat(local.telemetry_roles, lookup(local.project_roles, name, [])) : "${name}/${role}" => { service = name, role = role } }
  ]...)
  project = var.project_id
  role    = each.value.role
  member  = google_service_account.service[each.value.service].member
}

resource "google_project_iam_member" "job" {
  for_each = merge([
    for name, _ in local.jobs : { for role in local.telemetry_roles : "${name}/${role}" => { job = name, role = role } }
  ]...)
  project = var.project_id
  role    = each.value.role
  member  = google_service_account.job[each.value.job].member
}

# --- Spanner ----------------------------------------------------------------------------------------------------------

resource "google_spanner_database_iam_member" "fine_grained" {
  for_each = local.services
  instance = var.spanner_instance
  database = var.spanner_database
  role     = "roles/spanner.fineGrainedAccessUser"
  member   = google_service_account.service[each.key].member
}

# A service may open the database in the role of its name (sql/002) and in no other.
resource "google_spanner_database_iam_member" "role" {
  for_each = local.services
  instance = var.spanner_instance
  database = var.spanner_database
  role     = "roles/spanner.databaseRoleUser"
  member   = google_service_account.service[each.key].member
  condition {
    title      = "only-role-${replace(each.key, "_", "-")}"
    expression = "resource.type == \"spanner.googleapis.com/DatabaseRole\" && resource.name.endsWith(\"/databaseRoles/${each.key}\")"
  }
}

resource "google_spanner_database_iam_member" "job" {
  for_each = { migrate = "roles/spanner.databaseAdmin", rotate-keys = "roles/spanner.databaseUser" }
  instance = var.spanner_instance
  database = var.spanner_database
  role     = each.value
  member   = google_service_account.job[each.key].member
}

# --- topics, bucket, secrets, key -------------------------------------------------------------------------------------

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publishes
  topic    = google_pubsub_topic.topic[each.value.topic].name
  role     = "roles/pubsub.publisher"
  member   = google_service_account.service[each.value.service].member
}

# The health page asks whether the topic is there (`topics.get`), which a publisher may not.
resource "google_pubsub_topic_iam_member" "health" {
  topic  = google_pubsub_topic.topic["call-received"].name
  role   = "roles/pubsub.viewer"
  member = google_service_account.service["webhook"].member
}

resource "google_storage_bucket_iam_member" "service" {
  for_each = local.storage_roles
  bucket   = var.audio_bucket
  role     = each.value
  member   = google_service_account.service[each.key].member
}

# Speech writes its output itself.
resource "google_storage_bucket_iam_member" "speech_agent" {
  bucket = var.audio_bucket
  role   = "roles/storage.objectUser"
  member = "serviceAccount:service-${var.project_number}@gcp-sa-speech.iam.gserviceaccount.com"
}

# On the project: tenants come and go without an apply, and their secrets with them.
resource "google_project_iam_member" "secrets" {
  for_each = local.readers_of_secrets
  project  = var.project_id
  role     = "roles/secretmanager.secretAccessor"
  member   = google_service_account.service[each.value].member
}

resource "google_kms_crypto_key_iam_member" "opener" {
  for_each      = local.openers_of_keysets
  crypto_key_id = var.pii_key
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = google_service_account.service[each.value].member
}

resource "google_kms_crypto_key_iam_member" "rotator" {
  crypto_key_id = var.pii_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = google_service_account.job["rotate-keys"].member
}
