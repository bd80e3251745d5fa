# The only way in from the internet: one address, one certificate, two paths, rate limits.

resource "google_compute_global_address" "pipeline" {
  name = "pipeline-ip"
}

resource "google_compute_managed_ssl_certificate" "pipeline" {
  name = "pipeline-ssl-cert"
  managed {
    domains = [var.domain]
  }
}

resource "google_compute_region_network_endpoint_group" "webhook" {
  name                  = "webhook-neg"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = var.webhook_service
  }
}

resource "google_compute_security_policy" "webhook" {
  # checkov:skip=CKV_GCP_73:rule 950 has it; the check looks for the retired form of the expression
  name = "pipeline-armor"
  type = "CLOUD_ARMOR"
  # CallRail publishes no complete list of addresses; whoever has one names it and everybody else is refused.
  dynamic "rule" {
    for_each = length(var.callrail_ranges) == 0 ? [] : [var.callrail_ranges]
    content {
      action   = "deny(403)"
      priority = 900
      match {
        expr {
          expression = join(" && ", concat(
            ["request.path.startsWith('/v1/callrail/')"],
            [for range in rule.value : "!inIpRange(origin.ip, '${range}')"],
          ))
        }
      }
      description = "Webhooks come from CallRail's addresses only"
    }
  }
  rule {
    action   = "deny(403)"
    priority = 950
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('cve-canary', {'sensitivity': 3})"
      }
    }
    description = "Log4j and its like"
  }
  rule {
    action   = "throttle"
    priority = 1000
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
    description = "CallRail sends from few addresses: the limit is for one of them, not for one caller"
  }
  rule {
    action   = "allow"
    priority = 2147483647
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    description = "Default"
  }
}

resource "google_compute_backend_service" "webhook" {
  name                  = "webhook-backend"
  protocol              = "HTTPS"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = google_compute_security_policy.webhook.id
  # No health check and no time-out: a serverless backend takes neither.
  backend {
    group = google_compute_region_network_endpoint_group.webhook.id
  }
  log_config {
    enable      = true
    sample_rate = 1
  }
}

# Everything but the two paths goes to a bucket that has nothing: 404 without waking a service.
resource "google_storage_bucket" "nothing" {
  # checkov:skip=CKV_GCP_62:it holds nothing
  name                        = "${var.project_id}-nothing-here"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  versioning {
    enabled = true
  }
}

resource "google_compute_backend_bucket" "nothing" {
  name        = "nothing-here"
  bucket_name = google_storage_bucket.nothing.name
  enable_cdn  = false
}

resource "google_compute_url_map" "pipeline" {
  name            = "pipeline-url-map"
  default_service = google_compute_backend_bucket.nothing.id
  host_rule {
    hosts        = [var.domain]
    path_matcher = "pipeline-matcher"
  }
  path_matcher {
    name            = "pipeline-matcher"
    default_service = google_compute_backend_bucket.nothing.id
    path_rule {
      paths   = ["/v1/callrail/*", "/v1/health"]
      service = google_compute_backend_service.webhook.id
    }
  }
}

resource "google_compute_ssl_policy" "modern" {
  name            = "pipeline-tls"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "pipeline" {
  name             = "pipeline-https-proxy"
  url_map          = google_compute_url_map.pipeline.id
  ssl_certificates = [google_compute_managed_ssl_certificate.pipeline.id]
  ssl_policy       = google_compute_ssl_policy.modern.id
}

resource "google_compute_global_forwarding_rule" "https" {
  name                  = "pipeline-forwarding-rule"
  target                = google_compute_target_https_proxy.pipeline.id
  ip_address            = google_compute_global_address.pipeline.id
  port_range            = "443"
  load_balancing_scheme = "EXTERNAL_MANAGED"
}

resource "google_compute_url_map" "redirect" {
  name = "pipeline-redirect"
  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT" # 308: a POST stays a POST
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "redirect" {
  name    = "pipeline-http-proxy"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "http" {
  name                  = "pipeline-http-redirect"
  target                = google_compute_target_http_proxy.redirect.id
  ip_address            = google_compute_global_address.pipeline.id
  port_range            = "80"
  load_balancing_scheme = "EXTERNAL_MANAGED"
}

output "address" {
  value = google_compute_global_address.pipeline.address
}
