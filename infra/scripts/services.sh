# shellcheck shell=bash
# What the scripts beside it share: strict options, the list of services, one place that says how a service is named.
# Sourced, never run.

# A failure inside $(…) ends the script too.
shopt -s inherit_errexit

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# usage: the comment at the head of the script, without its shebang.
usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Reads `--name value` pairs into variables of the same name; only names that are given as arguments before `--` exist.
#   options project region -- "$@"
options() {
  local known=" " name
  while [ "$1" != "--" ]; do
    known+="$1 "
    shift
  done
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --help)
        usage
        exit 0
        ;;
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    name=${1#--}
    [ "$name" != "$1" ] || die "what is '$1'? options begin with --"
    [[ "$known" == *" $name "* ]] || die "no option --$name"
    [ $# -ge 2 ] || die "--$name needs a value"
    [ -n "$2" ] || die "--$name is empty"
    printf -v "${name//-/_}" '%s' "$2"
    shift 2
  done
}

# Every named variable must have been given.
need() {
  local name
  for name in "$@"; do
    [ -n "${!name:-}" ] || die "--${name//_/-} is missing"
  done
}

# Cloud Run names of all services of infra/pipeline.json: the same rule as Terraform's.
services() {
  python3 -c '
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    for name in json.load(file)["services"]:
        print("pipeline-" + name.replace("_", "-"))
' "$ROOT/infra/pipeline.json"
}

# run REST…: gcloud run for this project and region.
# shellcheck disable=SC2154 # `options` sets both, `need` has seen to it
cloud_run() {
  # Not the caller's standard input: a loop may be reading its list of services from it.
  gcloud run "$@" --project "$project" --region "$region" --quiet </dev/null
}

# The revision that most of a service's traffic goes to.
serving() {
  cloud_run services describe "$1" --format=json | python3 -c '
import json, sys
traffic = json.load(sys.stdin).get("status", {}).get("traffic", [])
shares = [(item.get("percent", 0), item["revisionName"]) for item in traffic if item.get("percent")]
print(max(shares)[1] if shares else "")
'
}
