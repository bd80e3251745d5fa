#!/usr/bin/env bash
# Asks a receiver three things that need no secret: it is well, it refuses what nobody signed, it has no other pages.
#
#   smoke.sh --url https://RECEIVER
#   smoke.sh --project ID --region REGION [--tag candidate]     looks the address up; other services must be ready
#
# A receiver that lets in nothing but the load balancer's traffic cannot be asked under an address of its own: then that
# every service is ready must do, and shift-traffic.sh asks through the load balancer (`--url`) after each step.
# Exit status 1 names what is wrong.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

url="" project="" region="" tag=""
options url project region tag -- "$@"
failed=0

fail() {
  echo "FAIL  $*" >&2
  failed=1
}

# The status of an answer; 000 when there is none. The body goes to standard error only where it says what is wrong.
status_of() {
  curl --silent --show-error --max-time 15 --output /dev/null --write-out '%{http_code}' "$@" || true
}

expect() {
  local wanted=$1 what=$2 got
  got=$(status_of "${@:3}")
  if [ "$got" = "$wanted" ]; then echo "ok    $what: $got"; else fail "$what: $got instead of $wanted"; fi
}

# Every service's newest revision, or the tagged one, is ready; prints the receiver's address, or `behind` when only the
# load balancer reaches it.
look_up() {
  local service
  for service in $(services); do
    cloud_run services describe "$service" --format=json | python3 -c '
import json, sys
service, tag = sys.argv[1:]
document = json.load(sys.stdin)
conditions = {item["type"]: item["status"] for item in document["status"].get("conditions", [])}
if conditions.get("Ready") != "True":
    sys.exit(f"{service} is not ready")
traffic = document["status"].get("traffic", [])
urls = [item["url"] for item in traffic if item.get("tag") == tag] if tag else [document["status"]["url"]]
if not urls:
    sys.exit(f"{service} has no revision tagged {tag}")
if service == "pipeline-webhook":
    ingress = document.get("metadata", {}).get("annotations", {}).get("run.googleapis.com/ingress", "all")
    print(urls[0] if ingress == "all" else "behind")
' "$service" "${tag:-}"
  done
}

if [ -z "${url:-}" ]; then
  need project region
  url=$(look_up)
fi
if [ "$url" = behind ]; then
  echo "ok    every service is ready; the receiver answers behind the load balancer only, where it gets no traffic yet"
  exit 0
fi
url=${url%/}

expect 200 "health" "$url/v1/health"
expect 401 "a webhook that nobody signed" --request POST --header 'Content-Type: application/json' \
  --header 'Signature: bm9ib2R5' --data '{"resource_id":"CALsmoke","company_resource_id":"COMsmoke"}' \
  "$url/v1/callrail/webhook"
expect 404 "any other page" "$url/internal/sweep"
exit "$failed"
