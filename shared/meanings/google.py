"""Codes of Speech-to-Text and Vertex AI."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_AGAIN = "nothing: it is tried again"
_REPLAY_PAYS = "a replay submits the audio anew, which is billed anew"

SPEECH = Chapter(
    title="Speech-to-Text",
    look="`pipeline why CALL` names the operation; Google Cloud's status page; quota page of `speech.googleapis.com`.",
    avoid="Do not replay before the cause is mended: every replay after `speech_failed` pays for the audio again.",
    meanings={
        "speech_throttled": Meaning(
            "our Speech quota is used up for the moment", f"{_AGAIN}; often: ask for more quota"
        ),
        "speech_unavailable": Meaning("Speech could not be reached", _AGAIN),
        "speech_timeout": Meaning("Speech did not answer in time", _AGAIN),
        "speech_internal_error": Meaning("Speech had a fault of its own", _AGAIN),
        "speech_submit_unanswered": Meaning(
            "the audio was sent to Speech and no answer came; no running operation with our output was found either",
            f"{_AGAIN}. In rare cases Speech did take it, and the audio is paid for twice",
        ),
        "speech_operation_unreadable": Meaning("Speech's answer about the operation could not be read", _AGAIN),
        "speech_operation_unknown": Meaning(
            "Speech has forgotten the operation and left no output", f"replay: {_REPLAY_PAYS}"
        ),
        "speech_forbidden": Meaning(
            "Google refuses our service account, or Speech's own account may not use the bucket",
            "grant the worker roles/speech.client, and Speech's service agent read on recordings/ and create on "
            "transcripts/; then replay",
        ),
        "speech_not_found": Meaning(
            "the recognizer or the audio object does not exist at this location",
            "check PIPELINE_SPEECH_LOCATION and that the recording is in the bucket; then replay",
        ),
        "speech_refused": Meaning(
            "Speech refuses the request for good: a model, language or feature that it does not have there",
            "read the detail; check PIPELINE_SPEECH_MODEL and the tenant's ai_config; then replay",
        ),
        "speech_failed": Meaning(
            "the recognition of this file ended in an error, inside an operation that had been accepted",
            f"read the detail. A right of the service agent: grant it. Otherwise {_REPLAY_PAYS}",
        ),
        "speech_overdue": Meaning("the operation runs since two days; it will not finish", f"replay: {_REPLAY_PAYS}"),
        "speech_output_lost": Meaning(
            "the operation succeeded twice and its output is not in the bucket",
            "look for a lifecycle rule or a person that deletes under transcripts/; then replay",
        ),
        "speech_output_unreadable": Meaning(
            "Speech's output object is not in the known form, twice",
            "give the object under transcripts/TENANT/ to the engineers: the format may have changed. Then replay",
        ),
    },
)

VERTEX = Chapter(
    title="Vertex AI (Gemini)",
    look="Google Cloud's status page; quota page of `aiplatform.googleapis.com`; the `analyze` worker's log.",
    avoid="Do not write an analysis by hand: a call without one is marked in the CRM, and completed by the replay.",
    meanings={
        "model_not_found": Meaning(
            "the model does not exist (any more) at this location: model ids are retired on announced dates",
            "set PIPELINE_ANALYSIS_MODEL, or the tenant's ai_config.analysis_model, to a current one; then replay",
        ),
        "vertex_forbidden": Meaning(
            "our service account may not ask the model", "grant roles/aiplatform.user to it; then replay"
        ),
        "model_request_invalid": Meaning(
            "the model refuses our request: a bug, or a field it no longer knows", "tell the engineers"
        ),
        "vertex_no_credentials": Meaning(
            "the service has no Google credentials", "attach a service account to the service; it is tried again"
        ),
        "model_answer_empty": Meaning("the model answered without words", _AGAIN),
        "model_answer_unfinished": Meaning("the model stopped without a reason", _AGAIN),
        "prompt_blocked": Meaning(
            "Google's filter refuses to let the model read this call",
            "listen to the call. A replay rarely changes it; discard the letter when the call needs no analysis",
        ),
        "model_refused": Meaning(
            "the model stopped writing for a reason of its own (safety, recitation, a forbidden word)",
            "replay once; after that discard the letter: the call is in the CRM without an analysis, marked",
        ),
        "model_reply_invalid": Meaning(
            "the model answered, repeatedly, with something that does not fit the schema or the call",
            "replay; when a whole tenant is affected, look at its ai_config.instructions and model",
        ),
        "model_reply_truncated": Meaning(
            "the model needed more words than allowed, even with the doubled bound",
            "replay once; when it happens often, choose a terser model or tell the engineers",
        ),
    },
    families={
        "vertex_<grpc status>": Meaning(
            "Vertex AI gave an error of this name: no capacity, not reachable, too slow",
            "nothing while it is retried; as a dead letter: replay when Vertex AI is well again",
        ),
    },
)

CHAPTERS = (SPEECH, VERTEX)
