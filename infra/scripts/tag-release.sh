#!/usr/bin/env bash
# Gives an image that serves everything its release's name, so that cleaning up the registry spares it.
#
#   tag-release.sh --image NAME@DIGEST --release NAME

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

image="" release=""
options image release -- "$@"
need image release
[[ "$image" == *@sha256:* ]] || die "--image must be pinned by its digest: $image"

gcloud artifacts docker tags add "$image" "${image%@*}:$release" --quiet
gcloud artifacts docker tags add "$image" "${image%@*}:production" --quiet
