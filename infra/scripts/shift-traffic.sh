#!/usr/bin/env bash
# Moves traffic to the candidate in steps, looks at its errors after each, and moves everything back when they are many.
#
#   shift-traffic.sh --project ID --region REGION --release NAME --previous FILE
#     [--steps 10,50,100] [--watch-s 300] [--max-error-percent 1] [--url https://HOST]
#
# `--release` and `--previous` as in deploy.sh. `--watch-s` is how long each step is watched; with `--url` (the load
# balancer's; `none` is nobody's) smoke.sh asks there after each step, 20 times, so that the candidate gets its share.
# Exit status 1: rolled back.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

steps=10,50,100
watch_s=300
max_error_percent=1
url=none
project="" region="" release="" previous=""
options project region release previous steps watch-s max-error-percent url -- "$@"
need project region release previous
[ -s "$previous" ] || die "$previous says of no service what served before"
[[ "$steps" =~ ^([1-9][0-9]?,)*100$ ]] || die "--steps must be percentages that end with 100: $steps"
[[ "$watch_s" =~ ^[0-9]+$ ]] || die "--watch-s is no number of seconds: $watch_s"

# The way back must not end half-way: a service that cannot be moved is named, the others are moved.
roll_back() {
  local service revision stuck=""
  echo "rolling back: $*" >&2
  while read -r service revision; do
    cloud_run services update-traffic "$service" --to-revisions "$revision=100" || stuck+=" $service"
  done <"$previous"
  [ -z "$stuck" ] || die "not moved back, do it by hand:$stuck"
  exit 1
}

# Whatever stops this script before the end (a refused step, a cancelled build) leads back too.
trap 'roll_back "interrupted"' INT TERM

smoke() {
  local turn
  [ "$url" != none ] || return 0
  for turn in {1..20}; do
    "$ROOT/infra/scripts/smoke.sh" --url "$url" >/dev/null || return 1
  done
  echo "$url answered $turn times as it must"
}

for percent in ${steps//,/ }; do
  while read -r service revision; do
    target="$service-$release=$percent"
    [ "$percent" = 100 ] || target+=",$revision=$((100 - percent))"
    cloud_run services update-traffic "$service" --to-revisions "$target" || roll_back "$service took no traffic"
  done <"$previous"
  echo "$release has $percent%"
  # In the background: a signal would wait for the end of a sleep in the foreground.
  sleep "$watch_s" &
  wait $!
  python3 "$ROOT/infra/scripts/error_rate.py" --project "$project" --release "$release" \
    --window-s "$((watch_s > 60 ? watch_s : 60))" --max-percent "$max_error_percent" ||
    roll_back "too many errors at $percent%, or nobody can say"
  smoke || roll_back "the smoke test failed at $percent%"
done
echo "$release serves everything"
