"""Says whether a release's revisions answer with too many errors, by Cloud Monitoring's own request counts.

    error_rate.py --project ID --release NAME [--window-s 300] [--max-percent 1] [--min-errors 3]

Exit status 1 when the share is above the bound, 2 when nobody can say. A worker's 503 is no error: that is how a stage
tells Pub/Sub to bring an event again (docs/architecture.md). The receiver's 503 is one: a webhook was not kept.
Standard library only: it runs in the image of the Cloud SDK.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

_TIMEOUT_S = 30.0
_COUNT = "run_googleapis_com:request_count"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--window-s", type=int, default=300)
    parser.add_argument("--max-percent", type=float, default=1.0)
    parser.add_argument("--min-errors", type=int, default=3, help="Fewer are no trend: a crash of one call is one.")
    parser.add_argument("--api", default=os.environ.get("MONITORING_API", "https://monitoring.googleapis.com"))
    options = parser.parse_args(arguments)
    try:
        counts = _counts(options.api, options.project, _query(options.release, options.window_s))
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        print(f"error rate unknown: {error}", file=sys.stderr)
        return 2
    total, errors = sum(counts.values()), sum(count for key, count in counts.items() if _is_error(*key))
    percent = 100 * errors / total if total else 0.0
    print(f"{errors:.0f} errors in {total:.0f} requests ({percent:.2f}%) in {options.window_s} s")
    return int(errors >= options.min_errors and percent > options.max_percent)


def _query(release: str, window_s: int) -> str:
    labels = f'monitored_resource="cloud_run_revision",revision_name=~"pipeline-.*-{release}"'
    return f"sum by (service_name, response_code) (increase({_COUNT}{{{labels}}}[{window_s}s]))"


def _is_error(service: str, code: str) -> bool:
    return code.startswith("5") and (code != "503" or service == "pipeline-webhook")


def _counts(api: str, project: str, query: str) -> dict[tuple[str, str], float]:
    """(service, status) → requests. An empty answer is a quiet release, not a failure."""
    url = f"{api}/v1/projects/{project}/location/global/prometheus/api/v1/query"
    token = subprocess.run(
        ["gcloud", "auth", "print-access-token"],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
    ).stdout.strip()
    request = urllib.request.Request(  # noqa: S310 - the address is Google's, or a test's
        url, data=urllib.parse.urlencode({"query": query}).encode(), headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the same
        document = json.load(answer)
    if document.get("status") != "success":
        raise ValueError(f"Cloud Monitoring says {document.get('error', 'no success')}")
    return {
        (item["metric"]["service_name"], item["metric"]["response_code"]): float(item["value"][1])
        for item in document["data"]["result"]
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
