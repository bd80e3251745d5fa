#!/usr/bin/env bash
# The way back, in three sizes. docs/operations/rollback.md says which one is wanted when.
#
#   rollback.sh traffic --project ID --region REGION [--release NAME]
#   rollback.sh schema  --project ID --region REGION --to VERSION
#   rollback.sh restore --project ID --region REGION --instance ID --backup NAME --database NEW
#
# traffic: all services to NAME's revisions, or to those that were made before what serves now. Seconds; loses nothing.
# schema:  undoes the migrations above VERSION by the job `pipeline-migrate`. Loses the data of what is dropped.
# restore: a new database from a backup. Changes no service: it says what to run when the copy has been looked at.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

# The newest ready revision of a service that is older than the one that serves.
revision_before() {
  cloud_run revisions list --service "$1" --sort-by '~metadata.creationTimestamp' --format=json | python3 -c '
import json, sys
serving, found = sys.argv[1], False
for revision in json.load(sys.stdin):
    name = revision["metadata"]["name"]
    states = {item["type"]: item["status"] for item in revision["status"].get("conditions", [])}
    if found and states.get("Ready") == "True":
        print(name)
        break
    found = found or name == serving
' "$2"
}

traffic() {
  local service revision targets=""
  # All are looked up before the first is moved: half a way back is worse than none.
  for service in $(services); do
    if [ -n "${release:-}" ]; then
      revision="$service-$release"
    else
      revision=$(revision_before "$service" "$(serving "$service")")
    fi
    [ -n "$revision" ] || die "$service has no ready revision before the one that serves"
    targets+="$service $revision"$'\n'
  done
  while read -r service revision; do
    [ -z "$service" ] || cloud_run services update-traffic "$service" --to-revisions "$revision=100"
  done <<<"$targets"
}

schema() {
  need to
  [[ "$to" =~ ^[0-9]+$ ]] || die "--to is no version: $to"
  cloud_run jobs execute pipeline-migrate --wait --args "migrate,--rollback,--to,$to,--yes"
}

restore() {
  need instance backup database
  gcloud spanner databases restore --project "$project" --quiet \
    --source-instance "$instance" --source-backup "$backup" \
    --destination-instance "$instance" --destination-database "$database"
  echo "restored into $database. When it is what you want: docs/operations/disaster-recovery.md, 'The database is gone', step 2"
}

project="" region="" release="" to="" instance="" backup="" database=""
mode=${1:-}
case "$mode" in
  traffic | schema | restore) shift ;;
  --help)
    usage
    exit 0
    ;;
  *) die "say what: traffic, schema or restore" ;;
esac
case "$mode" in
  traffic) options project region release -- "$@" ;;
  schema) options project region to -- "$@" ;;
  restore) options project region instance backup database -- "$@" ;;
esac
need project region
"$mode"
