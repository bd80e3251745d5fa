#!/usr/bin/env bash
# Brings the database to the schema of an image, by the Cloud Run job `pipeline-migrate`; waits for its end.
# Runs before the services change: every migration must leave the running release working.
#
#   migrate.sh --project ID --region REGION --image NAME@DIGEST

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

project="" region="" image=""
options project region image -- "$@"
need project region image

cloud_run jobs update pipeline-migrate --image "$image"
cloud_run jobs execute pipeline-migrate --wait
