"""Speech-to-Text v2 (google.cloud.speech_v2): batch recognition with output to Cloud Storage.

BatchRecognize has no idempotency key: a submission that is sent twice is paid for twice. It is therefore repeated here
only when the first one was certainly not accepted (see `speech_errors.may_have_been_accepted`). When that is open, the
running operations are searched for our output prefix, which is unique to a request, and a match is adopted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument

from schemas.transcript import Transcript
from shared.errors import PermanentFailure, TransientFailure
from shared.gateways.channels import google_client
from shared.gateways.retry import with_short_retries
from shared.gateways.speech_capabilities import RecognitionPlan, plan_recognition
from shared.gateways.speech_errors import code_of, may_have_been_accepted, shortened, translated
from shared.gateways.speech_operations import find_running, poll
from shared.gateways.speech_output import SpeechResult, parse_results
from shared.gateways.speech_requests import build_request, refused_features
from shared.gateways.speech_turns import turns_of
from shared.ports import SpeechJob, SpeechOperation

if TYPE_CHECKING:  # importing the client takes 0.4 s: only the transcribe worker pays, when it builds its recognizer
    from google.cloud.speech_v2 import SpeechClient

log = structlog.get_logger()

SUBMIT_TIMEOUT_S = 30.0
"""Two submissions and a search stay below the subscription's ack deadline of 120 s."""
SUBMIT_RETRY_BUDGET_S = 10.0
POLL_RETRY_BUDGET_S = 20.0


class _AnswerLost(Exception):
    """The submission ended so that it may be running all the same; the cause is the client's error, if any."""


class SpeechV2Recognizer:
    """`SpeechRecognizer` on Google's client. Safe to share between threads."""

    def __init__(self, client: SpeechClient, *, project_id: str, location: str, dynamic_batch: bool) -> None:
        self._client = client
        self._location = location
        self._parent = f"projects/{project_id}/locations/{location}"
        self._dynamic_batch = dynamic_batch

    def submit(self, job: SpeechJob) -> str:
        """Start the recognition; return the operation's name.

        A feature that the service refuses by name is left out and the request sent once more: a refused request runs
        nowhere. Raises `TransientFailure` (throttled, unreachable, or no answer and nothing found running),
        `PermanentFailure` (refused, forbidden, too long).
        """
        plan = plan_recognition(job, location=self._location)
        if plan.instead_of:
            log.info("speech_model_replaced", wanted=plan.instead_of, model=plan.model, location=self._location)
        try:
            return self._submit(job, plan)
        except InvalidArgument as error:
            refused = refused_features(error, plan.features)
            if not refused:
                raise translated(error, tried="BatchRecognize") from error
            log.warning("speech_feature_dropped", features=sorted(refused), model=plan.model, location=self._location)
        try:
            return self._submit(job, replace(plan, features=plan.features - refused))
        except InvalidArgument as error:
            raise translated(error, tried="BatchRecognize") from error

    def running(self, job: SpeechJob, *, apart_from: str = "") -> str:
        """See `SpeechRecognizer.running`."""
        return with_short_retries(lambda: self._search(job, apart_from), budget_s=POLL_RETRY_BUDGET_S)

    def operation(self, name: str) -> SpeechOperation:
        """Where a recognition stands; polling costs nothing, so it is repeated shortly.

        Raises `PermanentFailure` (`speech_operation_unknown`, forbidden), `TransientFailure`.
        """
        return with_short_retries(lambda: poll(self._client, name), budget_s=POLL_RETRY_BUDGET_S)

    def parse_output(self, data: bytes, job: SpeechJob) -> Transcript:
        """Speech's JSON output as turns by speaker. Raises `PermanentFailure` (`speech_output_unreadable`)."""
        results = parse_results(data)
        return Transcript(
            language=_language(results, job),
            model=plan_recognition(job, location=self._location).model,
            turns=turns_of(results, job),
        )

    def _submit(self, job: SpeechJob, plan: RecognitionPlan) -> str:
        """Raises `InvalidArgument` as the client does, so that the caller can look at it."""
        request = build_request(
            job, plan, recognizer=f"{self._parent}/recognizers/_", dynamic_batch=self._dynamic_batch
        )
        try:
            return with_short_retries(lambda: self._send(request), budget_s=SUBMIT_RETRY_BUDGET_S)
        except _AnswerLost as lost:
            adopted = self._running_for(job)
            if not adopted:
                raise TransientFailure("speech_submit_unanswered", str(lost)) from lost
            log.warning("speech_operation_adopted", operation=adopted)
            return adopted

    def _send(self, request: Any) -> str:
        try:
            future = self._client.batch_recognize(request=request, timeout=SUBMIT_TIMEOUT_S, retry=None)
        except InvalidArgument:
            raise
        except GoogleAPICallError as error:
            if may_have_been_accepted(error):
                raise _AnswerLost(f"BatchRecognize: {code_of(error)} {shortened(error.message or '')}") from error
            raise translated(error, tried="BatchRecognize") from error
        if not future.operation.name:
            raise _AnswerLost("BatchRecognize: an operation without a name")
        return str(future.operation.name)

    def _running_for(self, job: SpeechJob) -> str:
        """A search that fails leaves us as wise as before: an empty string."""
        try:
            return self._search(job)
        except (TransientFailure, PermanentFailure) as error:
            log.warning("speech_search_failed", code=error.code)
            return ""

    def _search(self, job: SpeechJob, apart_from: str = "") -> str:
        try:
            return find_running(
                self._client,
                parent=self._parent,
                output_uri_prefix=job.output_uri_prefix,
                apart_from=apart_from,
            )
        except GoogleAPICallError as error:
            raise translated(error, tried="ListOperations") from error


def _language(results: tuple[SpeechResult, ...], job: SpeechJob) -> str:
    """What Speech heard, in the spelling it was asked for; Speech answers in lower case."""
    heard = next((result.language_code for result in results if result.language_code), job.language_codes[0])
    return next((asked for asked in job.language_codes if asked.lower() == heard.lower()), heard)


def speech_recognizer(
    *, project_id: str, location: str, dynamic_batch: bool, local_address: str = ""
) -> SpeechV2Recognizer:
    """The recognizer of a deployment. The endpoint must be the location's own, or every request is refused.

    `local_address` (host:port on loopback) leads to the stand-in instead, without TLS and credentials.
    """
    from google.cloud.speech_v2 import SpeechClient
    from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport

    client = google_client(
        SpeechClient, SpeechGrpcTransport, local_address=local_address, api_endpoint=endpoint(location)
    )
    return SpeechV2Recognizer(client, project_id=project_id, location=location, dynamic_batch=dynamic_batch)


def endpoint(location: str) -> str:
    """The host that serves a location."""
    return "speech.googleapis.com" if location == "global" else f"{location}-speech.googleapis.com"
