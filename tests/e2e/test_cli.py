"""The `pipeline` command against a running stack: addresses, webhooks by hand, tenants."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers.signature import callrail_signature
from infra.local.senders import WEBHOOK_PATH, encode
from tests.e2e.calls import ONE_OF_EACH, held, missed_call
from tests.e2e.command_line import Ran, pipeline
from tests.support.audio import wav
from tests.support.stack import LocalStack

pytestmark = pytest.mark.emulators

PROMISED = {
    "WEBHOOK_URL",
    "PUBSUB_EMULATOR_HOST",
    "SPANNER_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
    "CALLRAIL_URL",
    "HUBSPOT_URL",
    "SALESFORCE_URL",
    "DOWNLOAD_PUSH_ENDPOINT",
    "TRANSCRIBE_PUSH_ENDPOINT",
    "ANALYZE_PUSH_ENDPOINT",
    "CRM_SYNC_PUSH_ENDPOINT",
    "DEAD_LETTER_PUSH_ENDPOINT",
    "DEMO_TENANT_ID",
    "DEMO_COMPANY_ID",
    "DEMO_WEBHOOK_SECRET",
}

GUIDES_TENANT: dict[str, Any] = {
    "callrail_company_id": "12345",
    "webhook_secret": "demo_webhook_secret_change_in_prod",
    "crm_config": {"hubspot_api_key_secret": "hubspot-api-key", "hubspot_portal_id": "12345678"},
    "ai_config": {"lead_scoring_threshold": 70, "analysis_model": "gemini-pro"},
}
"""The production guide's configuration, to the letter."""


def local_env(stack: LocalStack) -> dict[str, str]:
    """The variables that `pipeline local env` gives to a shell that evaluates its output."""
    printed = pipeline("local", "env", "--state-dir", str(stack.state_dir))
    assert printed.status == 0, printed.err
    dump = subprocess.run(
        ["bash", "-c", f"{printed.out}\nenv -0"], env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True
    )
    return dict(line.split("=", 1) for line in dump.stdout.decode().split("\0") if line)


# --- local env ----------------------------------------------------------------------------------------


def test_local_env_prints_every_promised_variable(local_stack: LocalStack) -> None:
    variables = local_env(local_stack)

    assert {name for name in PROMISED if not variables.get(name)} == set()


def test_a_webhook_can_be_posted_with_nothing_but_these_variables(local_stack: LocalStack) -> None:
    variables = local_env(local_stack)
    payload = missed_call(number="+13035550190", company_id=variables["DEMO_COMPANY_ID"])
    body = encode(payload)

    answer = httpx.post(
        variables["WEBHOOK_URL"] + WEBHOOK_PATH,
        content=body,
        headers={
            "Content-Type": "application/json",
            "Signature": callrail_signature(variables["DEMO_WEBHOOK_SECRET"], body),
        },
        trust_env=False,
    )

    assert answer.status_code == 202, answer.text
    assert local_stack.end_of(answer.json()["request_id"], call_id=payload["resource_id"]) == "done"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
def test_curl_and_openssl_can_post_a_webhook(local_stack: LocalStack, tmp_path: Path) -> None:
    payload = missed_call(number="+13035550191")
    (tmp_path / "body.json").write_bytes(encode(payload))
    sign_and_send = """
        signature=$(openssl dgst -sha1 -hmac "$DEMO_WEBHOOK_SECRET" -binary < body.json | openssl base64)
        curl --silent --noproxy '*' --data-binary @body.json -H 'Content-Type: application/json' \
            -H "Signature: $signature" "$WEBHOOK_URL/v1/callrail/webhook"
    """

    sent = subprocess.run(
        ["bash", "-ec", sign_and_send],
        cwd=tmp_path,
        env={**local_env(local_stack), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )

    answer = json.loads(sent.stdout)
    assert answer["status"] == "accepted"
    assert local_stack.end_of(answer["request_id"], call_id=payload["resource_id"]) == "done"


# --- webhook send -------------------------------------------------------------------------------------


def answers_of(ran: Ran) -> list[dict[str, Any]]:
    """The receiver's answers, one a line: the status, then the body."""
    assert ran.status == 0, ran.out + ran.err
    lines = [line for line in ran.out.splitlines() if line.startswith("202 ")]
    return [json.loads(line.removeprefix("202 ")) for line in lines]


def test_send_audio_twice_is_one_call(local_stack: LocalStack, tmp_path: Path) -> None:
    """Two seconds of a tone: nobody says a word, and that is a result too."""
    audio = tmp_path / "tone.wav"
    audio.write_bytes(wav(2.0))

    sent = answers_of(
        pipeline("webhook", "send", "--audio", str(audio), "--times", "2", "--state-dir", str(local_stack.state_dir))
    )

    assert len(sent) == 2
    assert sent[0] == sent[1]
    call_id = sent[0]["call_id"]
    assert local_stack.end_of(sent[0]["request_id"], call_id=call_id) == "done"
    assert held(local_stack, call_id).counts() == ONE_OF_EACH


@pytest.mark.parametrize("event", [(), ("--event", "post-call")], ids=["shared address", "own address"])
def test_send_a_payload_as_it_stands(local_stack: LocalStack, tmp_path: Path, event: tuple[str, ...]) -> None:
    payload = missed_call(number="+13035550192")
    (tmp_path / "body.json").write_text(json.dumps(payload, indent=2))

    (sent,) = answers_of(pipeline("webhook", "send", "--payload", str(tmp_path / "body.json"), *event))

    assert (sent["kind"], sent["call_id"]) == ("post_call", payload["resource_id"])
    assert local_stack.end_of(sent["request_id"], call_id=sent["call_id"]) == "done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--audio or --payload"),
        (("--audio", "/nowhere/call.mp3"), "is not a file"),
        (("--audio", __file__), "is not audio"),
        (("--payload", "/nowhere/body.json"), "/nowhere/body.json"),
        (("--audio", "x.mp3", "--event", "rings"), "no event is called 'rings'"),
    ],
    ids=["nothing to send", "no file", "no audio", "no payload", "no such event"],
)
def test_send_says_what_is_wrong(local_stack: LocalStack, arguments: tuple[str, ...], said: str) -> None:
    ran = pipeline("webhook", "send", *arguments, "--state-dir", str(local_stack.state_dir))

    assert ran.status != 0
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_send_fails_when_the_receiver_refuses(local_stack: LocalStack, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(encode(missed_call(number="+13035550193")))

    ran = pipeline("webhook", "send", "--payload", str(tmp_path / "body.json"), "--secret", "0" * 32)

    assert ran.status == 1
    assert ran.out.startswith("401 ")
    assert local_stack.env["DEMO_WEBHOOK_SECRET"] not in ran.out + ran.err


# --- tenants ------------------------------------------------------------------------------------------


def create(tmp_path: Path, config: dict[str, Any], *arguments: str) -> Ran:
    (tmp_path / "tenant.json").write_text(json.dumps(config))
    return pipeline("tenant", "create", "--config", str(tmp_path / "tenant.json"), *arguments)


def test_a_tenant_of_the_guides_form_is_created_shown_and_served(local_stack: LocalStack, tmp_path: Path) -> None:
    config = GUIDES_TENANT | {"callrail_company_id": "54321", "ai_config": {"lead_scoring_threshold": 60}}

    created = create(tmp_path, config, "--tenant-id", "guides-customer", "--name", "Guide's Customer")

    assert created.status == 0, created.err
    shown = pipeline("tenant", "show", "guides-customer", "--json")
    document = shown.document()
    assert document["status"] == "active"
    assert document["config"]["callrail_company_ids"] == ["54321"]
    assert document["config"]["ai_config"]["lead_scoring_threshold"] == 60
    assert document["config"]["crm_config"]["hubspot"]["token_secret"] == "hubspot-api-key"
    assert [item["provider"] for item in document["integrations"]] == ["hubspot"]
    assert GUIDES_TENANT["webhook_secret"] not in created.out + shown.out
    listed = pipeline("tenant", "list", "--json").document()
    assert {"guides-customer", local_stack.tenant_id} <= {line["tenant_id"] for line in listed}

    (tmp_path / "body.json").write_bytes(encode(missed_call(number="+13035550194", company_id="54321")))
    secret = ("--secret", GUIDES_TENANT["webhook_secret"])
    assert answers_of(pipeline("webhook", "send", "--payload", str(tmp_path / "body.json"), *secret))


def test_the_guides_retired_model_is_refused_with_the_models_to_use(local_stack: LocalStack, tmp_path: Path) -> None:
    refused = create(tmp_path, GUIDES_TENANT, "--tenant-id", "never-made")

    assert refused.status == 1
    assert "gemini-pro has been retired" in refused.err
    assert "gemini-3" in refused.err
    assert pipeline("tenant", "show", "never-made").status == 1


def test_every_mistake_is_named_at_once_and_nothing_is_written(local_stack: LocalStack, tmp_path: Path) -> None:
    config = GUIDES_TENANT | {
        "webhook_secret": "short",
        "callrail_companyid": "54322",
        "ai_config": {"lead_scoring_threshold": 170},
    }

    refused = create(tmp_path, config, "--tenant-id", "never-made")

    assert refused.status == 1
    for mistake in ("webhook_secret", "callrail_companyid", "ai_config.lead_scoring_threshold"):
        assert mistake in refused.err
    assert "nothing was written" in refused.err


def test_a_company_belongs_to_one_tenant(local_stack: LocalStack, tmp_path: Path) -> None:
    refused = create(tmp_path, GUIDES_TENANT | {"ai_config": {}}, "--tenant-id", "second-owner")

    assert refused.status == 1
    assert f"company 12345 belongs to tenant {local_stack.tenant_id}" in refused.err
