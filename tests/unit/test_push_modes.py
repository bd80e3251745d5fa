"""Which check of push requests a service starts with: none that would be open, and none that guesses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from handlers.push import PushService
from handlers.wiring import push_verifier
from shared.answers import Answer
from shared.deliveries import Delivery
from shared.errors import ConfigurationError
from shared.gateways.push_tokens import AllowAll, PlatformVerifier, TokenVerifier
from shared.settings import Settings, load_settings
from tests.support.http_target import served
from tests.unit.test_push_tokens import ACCOUNT, AUDIENCE, KeyServer, minted, rejection, unsigned

COMPLETE = {"PIPELINE_PUSH_AUDIENCE": AUDIENCE, "PIPELINE_PUSH_SERVICE_ACCOUNT": ACCOUNT}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings from an environment."""

    def load(**variables: str) -> Settings:
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load


# -- at the start -------------------------------------------------------------------------------------


def test_without_a_word_everything_is_verified(settings: Callable[..., Settings]) -> None:
    assert isinstance(push_verifier(settings(**COMPLETE)), TokenVerifier)


def test_platform_starts_on_cloud_run_only(settings: Callable[..., Settings]) -> None:
    platform = {**COMPLETE, "PIPELINE_PUSH_AUTH": "platform"}
    with pytest.raises(ConfigurationError, match="K_SERVICE is not set"):
        settings(**platform)

    assert isinstance(push_verifier(settings(**platform, K_SERVICE="analyze")), PlatformVerifier)


@pytest.mark.parametrize("mode", ["verify", "platform"])
@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_no_mode_starts_without_knowing_whose_tokens_are_right(
    mode: str, missing: str, settings: Callable[..., Settings]
) -> None:
    given = {name: value for name, value in COMPLETE.items() if name != missing}

    with pytest.raises(ConfigurationError, match="needs an audience and a service account"):
        push_verifier(settings(**given, PIPELINE_PUSH_AUTH=mode, K_SERVICE="analyze"))


@pytest.mark.parametrize(
    "variables",
    [
        {"PIPELINE_PUSH_AUTH": "off"},
        {"PIPELINE_PUSH_AUTH": "off", "K_SERVICE": "analyze"},
        {"PIPELINE_PUSH_AUTH": "off", "PIPELINE_ENVIRONMENT": "local", "K_SERVICE": "analyze"},
        {"PIPELINE_PUSH_AUTH": "none"},
        {"PIPELINE_PUSH_AUTH": ""},
    ],
    ids=str,
)
def test_an_open_door_does_not_start(variables: dict[str, str], settings: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigurationError):
        settings(**variables)


def test_a_laptop_may_be_open_and_only_says_so_itself(settings: Callable[..., Settings]) -> None:
    local = settings(PIPELINE_PUSH_AUTH="off", PIPELINE_ENVIRONMENT="local")

    assert isinstance(push_verifier(local), AllowAll)


# -- real tokens at the real service ------------------------------------------------------------------


def status_of(authorization: str, *, keys: Callable[[], httpx.Response] | None = None) -> tuple[int, int]:
    """The answer to a push with this token, and how many deliveries came through."""
    taken: list[Delivery] = []

    def take(delivery: Delivery) -> Answer:
        taken.append(delivery)
        return Answer(204)

    server = KeyServer() if keys is None else KeyServer(answer=keys)
    client = served(PushService(verifier=server.verifier(), take=take)).test_client()
    body: dict[str, Any] = {"message": {"messageId": "1", "data": "e30=", "attributes": {}}, "subscription": "s"}
    answer = client.post("/", json=body, headers={"Authorization": authorization} if authorization else {})
    return answer.status_code, len(taken)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer x",
        unsigned({"alg": "none", "typ": "JWT"}),
        unsigned({"alg": "None", "kid": "google-key"}),
        minted(aud="https://other.example.com/"),
        minted(email="push@other-project.iam.gserviceaccount.com"),
        minted(email_verified=False),
        minted(exp=1),
        minted(key="stranger"),
        minted(key_id="unknown"),
        minted(iss="https://securetoken.google.com/test-project"),
    ],
    ids=["nothing", "rubbish", "none", "None", "audience", "project", "verified", "expired", "key", "kid", "firebase"],
)
def test_a_push_that_is_not_pubsubs_is_401_and_reaches_no_stage(authorization: str) -> None:
    assert status_of(authorization) == (401, 0)


def test_pubsubs_own_push_comes_through() -> None:
    assert status_of(minted()) == (204, 1)


@pytest.mark.parametrize("status", [500, 503, 404])
def test_an_outage_of_the_key_server_is_503_and_the_push_comes_again(status: int) -> None:
    request = httpx.Request("GET", "https://keys.example.com")

    assert status_of(minted(), keys=lambda: httpx.Response(status, request=request)) == (503, 0)


def test_a_token_of_another_project_with_the_same_account_name_is_rejected() -> None:
    name = ACCOUNT.partition("@")[0]

    assert rejection(minted(email=f"{name}@other-project.iam.gserviceaccount.com")) == "push_token_account"
