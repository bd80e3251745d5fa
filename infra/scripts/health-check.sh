#!/usr/bin/env bash
# One look at a deployment: services, database, load balancer, certificate, dead letters, errors of the last hour.
#
#   health-check.sh --project ID --region REGION [--instance pipeline-prod] [--certificate pipeline-ssl-cert]
#     [--forwarding-rule pipeline-forwarding-rule]
#
# Exit status 1 when a service is not ready, the database does not answer or the certificate is not active.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

instance=pipeline-prod
certificate=pipeline-ssl-cert
forwarding_rule=pipeline-forwarding-rule
project="" region=""
options project region instance certificate forwarding-rule -- "$@"
need project region
failed=0

# check WHAT WANTED COMMAND…: the command's first line must be WANTED.
check() {
  local what=$1 wanted=$2 got
  got=$("${@:3}" 2>/dev/null | head -n 1) || got="no answer"
  if [ "$got" = "$wanted" ]; then
    echo "ok    $what: $got"
  else
    echo "FAIL  $what: ${got:-nothing} instead of $wanted"
    failed=1
  fi
}

for service in $(services); do
  check "$service" True cloud_run services describe "$service" \
    --format 'value(status.conditions[0].status)'
done
check "Spanner instance $instance" READY \
  gcloud spanner instances describe "$instance" --project "$project" --format 'value(state)'
check "certificate $certificate" ACTIVE \
  gcloud compute ssl-certificates describe "$certificate" --global --project "$project" \
  --format 'value(managed.status)'
address=$(gcloud compute forwarding-rules describe "$forwarding_rule" --global --project "$project" \
  --format 'value(IPAddress)' 2>/dev/null) || address=""
if [ -n "$address" ]; then echo "ok    load balancer: $address"; else
  echo "FAIL  load balancer: no address"
  failed=1
fi
echo
echo "errors of the last hour, newest first (ten at most):"
gcloud logging read 'resource.type="cloud_run_revision" AND severity>=ERROR' --project "$project" --freshness 1h \
  --limit 10 --format 'value(timestamp,resource.labels.service_name,jsonPayload.event)'
exit "$failed"
