#!/usr/bin/env bash
# Scans an image on this machine for known vulnerabilities; exit status 1 when one of the given severities is found.
#
#   scan.sh --image NAME [--refuse CRITICAL,HIGH]

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

image="" refuse=CRITICAL
options image refuse -- "$@"
need image

scan=$(gcloud artifacts docker images scan "$image" --quiet --format 'value(response.scan)')
[ -n "$scan" ] || die "the scan of $image has no name"
found=$(gcloud artifacts docker images list-vulnerabilities "$scan" --quiet \
  --format 'value(vulnerability.effectiveSeverity)' | sort | uniq -c)
echo "${found:-nothing found}"
for severity in ${refuse//,/ }; do
  if grep -qw "$severity" <<<"$found"; then
    echo "refused: $severity" >&2
    exit 1
  fi
done
