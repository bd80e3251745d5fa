# Who releases: Cloud Build runs cloudbuild.yaml as this account, which changes services and reads no call.

resource "google_service_account" "build" {
  account_id   = "pipeline-build"
  display_name = "Pipeline: Cloud Build"
}

resource "google_project_iam_member" "build" {
  for_each = toset([
    "roles/run.developer",             # deploy, run the migration, shift traffic
    "roles/artifactregistry.writer",   # push and tag the image
    "roles/ondemandscanning.admin",    # look for weaknesses before it is pushed
    "roles/monitoring.viewer",         # the error rate while traffic is shifted
    "roles/logging.logWriter",         # the build's own log
    "roles/cloudbuild.builds.builder", # sources, and the state of the build
  ])
  project = var.project_id
  role    = each.value
  member  = google_service_account.build.member
}

# A new revision runs as its service's account: whoever deploys must be allowed to name it.
resource "google_service_account_iam_member" "build" {
  for_each           = merge(google_service_account.service, google_service_account.job)
  service_account_id = each.value.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.build.member
}
