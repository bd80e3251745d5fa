#!/usr/bin/env bash
# Puts a new image into every service without giving it traffic; its revisions answer under the tag `candidate` only.
# What serves now is written down first, one `service revision` a line: that is where a roll-back leads.
#
#   deploy.sh --project ID --region REGION --image NAME@DIGEST --release NAME --previous FILE
#
# `--release` becomes the end of each revision's name (letters, digits and hyphens), so that one word names them all.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

project="" region="" image="" release="" previous=""
options project region image release previous -- "$@"
need project region image release previous
[[ "$release" =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "--release is no end of a revision's name: $release"

: >"$previous"
for service in $(services); do
  revision=$(serving "$service")
  [ -n "$revision" ] || die "$service serves nothing: apply infra/terraform first"
  echo "$service $revision" >>"$previous"
done
for service in $(services); do
  cloud_run services update "$service" --image "$image" --no-traffic --tag candidate --revision-suffix "$release"
done
echo "$release is deployed without traffic; $previous says what serves"
