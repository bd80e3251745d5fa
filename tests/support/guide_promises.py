"""What the production guide promises of single resources, as values of Terraform's plan: a table for tests."""

from __future__ import annotations

from typing import Any

PROMISES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "google_spanner_instance",
        "pipeline",
        {
            "name": "pipeline-prod",
            "config": "regional-us-central1",
            "processing_units": 100,
            "force_destroy": False,
            "default_backup_schedule_type": "NONE",
        },
    ),
    (
        "google_spanner_database",
        "pipeline",
        {
            "name": "pipeline-db",
            "database_dialect": "GOOGLE_STANDARD_SQL",
            "version_retention_period": "7d",
            "enable_drop_protection": True,
            "deletion_protection": True,
        },
    ),
    (
        "google_spanner_backup_schedule",
        "daily",
        {"spec.0.cron_spec.0.text": "0 2 * * *", "retention_duration": f"{30 * 86400}s"},
    ),
    (
        "google_storage_bucket",
        "audio",
        {"name": "example-prod-audio-files", "location": "us-central1", "force_destroy": False},
    ),
    (
        "google_storage_bucket",
        "backups",
        {
            "storage_class": "NEARLINE",
            "force_destroy": False,
            "versioning.0.enabled": True,
            "lifecycle_rule.0.condition.0.num_newer_versions": 3,
            "lifecycle_rule.0.action.0.type": "Delete",
        },
    ),
    (
        "google_storage_bucket",
        "audit",
        {"retention_policy.0.is_locked": True, "retention_policy.0.retention_period": 400 * 86400},
    ),
    ("google_kms_key_ring", "pipeline", {"name": "pipeline-keys", "location": "us-central1"}),
    (
        "google_kms_crypto_key",
        "pii",
        {"name": "pii-encryption-key", "purpose": "ENCRYPT_DECRYPT", "rotation_period": f"{90 * 86400}s"},
    ),
    (
        "google_kms_crypto_key",
        "audio",
        {"name": "audio-encryption-key", "purpose": "ENCRYPT_DECRYPT", "rotation_period": f"{90 * 86400}s"},
    ),
    (
        "google_kms_crypto_key_iam_member",
        "storage_agent",
        {"role": "roles/cloudkms.cryptoKeyEncrypterDecrypter"},
    ),
    ("google_compute_network", "pipeline", {"name": "pipeline-vpc", "auto_create_subnetworks": False}),
    (
        "google_compute_subnetwork",
        "pipeline",
        {"ip_cidr_range": "10.1.0.0/24", "private_ip_google_access": True, "region": "us-central1"},
    ),
    ("google_compute_global_address", "pipeline", {"name": "pipeline-ip"}),
    ("google_compute_managed_ssl_certificate", "pipeline", {"managed.0.domains": ["calls.example.com"]}),
    (
        "google_compute_region_network_endpoint_group",
        "webhook",
        {"network_endpoint_type": "SERVERLESS", "cloud_run.0.service": "pipeline-webhook"},
    ),
    (
        "google_compute_backend_service",
        "webhook",
        {"load_balancing_scheme": "EXTERNAL_MANAGED", "protocol": "HTTPS", "health_checks": None},
    ),
    (
        "google_compute_url_map",
        "pipeline",
        {
            "host_rule.0.hosts": ["calls.example.com"],
            "path_matcher.0.path_rule.0.paths": ["/v1/callrail/*", "/v1/health"],
        },
    ),
    (
        "google_compute_url_map",
        "redirect",
        {
            "default_url_redirect.0.https_redirect": True,
            "default_url_redirect.0.redirect_response_code": "PERMANENT_REDIRECT",
        },
    ),
    ("google_compute_ssl_policy", "modern", {"min_tls_version": "TLS_1_2", "profile": "MODERN"}),
    ("google_compute_global_forwarding_rule", "https", {"port_range": "443"}),
    ("google_compute_global_forwarding_rule", "http", {"port_range": "80"}),
    (
        "google_artifact_registry_repository",
        "pipeline",
        {"format": "DOCKER", "docker_config.0.immutable_tags": True, "location": "us-central1"},
    ),
    (
        "google_logging_project_sink",
        "errors",
        {
            "filter": '(resource.type="cloud_run_revision" OR resource.type="cloud_run_job") AND severity>=ERROR',
            "unique_writer_identity": True,
        },
    ),
    ("google_logging_project_sink", "audit", {"unique_writer_identity": True}),
    (
        "google_bigquery_dataset",
        "logs",
        {"dataset_id": "pipeline_logs", "default_partition_expiration_ms": 90 * 86_400_000},
    ),
    ("google_monitoring_notification_channel", "ops@example.com", {"type": "email"}),
    ("google_monitoring_notification_channel", "slack", {"type": "slack", "labels.channel_name": "#alerts"}),
    (
        "google_access_context_manager_service_perimeter",
        "pipeline",
        {"parent": "accessPolicies/123456", "status.0.resources": ["projects/555010155501"]},
    ),
    (
        "google_binary_authorization_policy",
        "pipeline",
        {"default_admission_rule.0.evaluation_mode": "REQUIRE_ATTESTATION"},
    ),
    ("google_billing_budget", "month", {"amount.0.specified_amount.0.units": "200"}),
]
"""Type, name (or key) and the values that the guide, or the issue where the guide is wrong, asks for."""
