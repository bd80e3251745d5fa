"""Gemini on Vertex AI: one bounded question, one unparsed answer, every refusal as an error of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from shared.gateways.channels import google_client
from shared.gateways.gemini_errors import translated
from shared.gateways.gemini_messages import read_answer, to_request
from shared.gateways.retry import with_short_retries
from shared.ports import ModelAnswer, ModelRequest

TIMEOUT_S = 45.0
"""For one attempt. A long call takes Gemini 5 to 20 s; past 45 s another attempt is worth more than patience."""
BUDGET_S = 75.0
"""For all attempts of one question. The stage asks at most twice: 150 s, below its ack deadline of 180 s."""
_SHORTEST_ATTEMPT_S = 1.0


class GeminiModel:
    """`LanguageModel` over `PredictionServiceClient.generate_content`.

    The client is imported and made at the first question: importing `google.cloud.aiplatform_v1` costs 2 s and
    190 MiB, which only the analyze service may pay. Google's own retry is off; the ring here is the only one.
    """

    def __init__(
        self,
        *,
        project: str,
        location: str,
        local_address: str = "",
        timeout_s: float = TIMEOUT_S,
        budget_s: float = BUDGET_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`local_address` (host:port on loopback) sends everything to the stand-in instead of Google."""
        self._parent = f"projects/{project}/locations/{location}"
        self._location = location
        self._local_address = local_address
        self._timeout_s = timeout_s
        self._budget_s = budget_s
        self._monotonic = monotonic
        self._lock = Lock()
        self._made: Any = None

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Ask once, repeating only what time mends, for at most the budget.

        Raises `ModelTruncated`, `PermanentFailure` (refused, blocked, unknown model, malformed request) and
        `TransientFailure` (429, 5xx, time-out, empty answer). No error carries text of the call.
        """
        client = self._client()
        message = to_request(request, model_path=f"{self._parent}/publishers/google/models/{request.model}")
        ends = self._monotonic() + self._budget_s

        def attempt() -> ModelAnswer:
            left = max(_SHORTEST_ATTEMPT_S, ends - self._monotonic())
            with translated(model=request.model, location=self._location):
                response = client.generate_content(request=message, timeout=min(self._timeout_s, left), retry=None)
            return read_answer(response, model=request.model)

        return with_short_retries(attempt, budget_s=self._budget_s)

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                with translated(model="", location=self._location):
                    self._made = _make_client(self._location, self._local_address)
            return self._made


def endpoint_of(location: str) -> str:
    """The API host that serves a location; the plain client does not derive it (reference: apis §4.2)."""
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def _make_client(location: str, local_address: str) -> Any:
    from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient
    from google.cloud.aiplatform_v1.services.prediction_service.transports.grpc import PredictionServiceGrpcTransport

    return google_client(
        PredictionServiceClient,
        PredictionServiceGrpcTransport,
        local_address=local_address,
        api_endpoint=endpoint_of(location),
    )
