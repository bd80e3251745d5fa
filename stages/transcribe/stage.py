"""The transcribe stage: submit a recording to Speech, collect the transcript when the output object appears."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from schemas.checkpoints import TranscriptionCheckpoint
from schemas.events import CallTranscribed, TranscriptionOutput
from schemas.tenant import Tenant
from shared.claims import StageRun
from shared.errors import InvalidEvent, NotReady, PermanentFailure, Waiting
from shared.names import recording_object, transcript_prefix
from shared.ports import CallReader, ObjectStore, SpeechJob, SpeechOperation, SpeechRecognizer
from shared.redaction import redact_transcript
from shared.stage import CallChanges, Completed, StageContext, Usage
from stages.transcribe import logic
from stages.transcribe.logic import Next


@dataclass(frozen=True)
class TranscribeDeps:
    """What the stage uses. `default_model` serves tenants that chose none."""

    speech: SpeechRecognizer
    objects: ObjectStore
    calls: CallReader
    default_model: str
    first_look: timedelta = logic.FIRST_LOOK
    """How long an operation may be silent before it is looked after."""


def submit(context: StageContext, deps: TranscribeDeps) -> Completed:
    """Start the recognition and go to sleep, or look after the one that was started.

    Consumes `RecordingStored`; reads the call; starts one Speech operation that writes under
    `transcripts/<tenant>/<request>/`. Raises `Waiting` with the operation's name. A run that comes back with a
    checkpoint (sweeper, redelivery, replay) never submits again while that operation may still deliver; when it
    delivered, the stage is finished as by `collect`. Raises `PermanentFailure` (no recording, refused, failed twice),
    `TransientFailure`.
    """
    saved = logic.saved_checkpoint(context.checkpoint)
    if saved is not None:
        return _look_after(context, deps, saved)
    job = _job_of_call(context, deps)
    rejected: tuple[str, ...] = ()
    if context.attempt > 1:
        search = _search(context, deps, job, submissions=1)
        if search.completed is not None:
            return search.completed
        rejected = search.rejected
    raise _submitted(context, deps, job, submissions=1, rejected=rejected)


def collect(context: StageContext, deps: TranscribeDeps) -> Completed:
    """Finish the stage from Speech's output object.

    Consumes `TranscriptionOutput`; reads the object; returns the transcript and `CallTranscribed`. Raises `NotReady`
    when it overtook submit's commit, `InvalidEvent` for an object outside the request's prefix, `Waiting` (unchanged)
    for an object that is no transcript or was rejected before. An unreadable output is submitted once more, then
    `PermanentFailure`.
    """
    event = context.event
    if not isinstance(event, TranscriptionOutput):
        raise InvalidEvent("wrong_event", f"collect is started by a transcription output, not by {event.type}")
    saved = logic.saved_checkpoint(context.checkpoint)
    if saved is None:
        raise NotReady("submission_not_recorded", "the output overtook the commit that names its operation")
    if not event.object_name.startswith(saved.output_prefix):
        raise InvalidEvent("foreign_output", "the object does not lie under this request's prefix")
    if not logic.readable_outputs([event.object_name], rejected=saved.rejected):
        raise _still_waiting(saved)
    data = deps.objects.read(event.object_name, max_bytes=logic.MAX_OUTPUT_BYTES)
    try:
        return _completed(context, deps, _job_of_checkpoint(deps, saved), data)
    except PermanentFailure as error:
        return _submit_again(context, deps, logic.rejecting(saved, event.object_name), because=error)


# --- an operation that was started before ---------------------------------------------------------


def _look_after(context: StageContext, deps: TranscribeDeps, saved: TranscriptionCheckpoint) -> Completed:
    try:
        operation = deps.speech.operation(saved.operation)
    except PermanentFailure as error:
        if error.code != logic.OPERATION_UNKNOWN:
            raise
        return _submit_again(context, deps, saved, because=error)
    now = context.now()
    match logic.judge_operation(operation.state, operation.error, submitted_at=saved.submitted_at, now=now):
        case Next.WAIT:
            again_at = logic.look_again_at(now, duration_s=saved.duration_s, first_look=deps.first_look)
            raise Waiting(checkpoint=context.checkpoint, until=again_at)
        case Next.FINISH:
            lost = PermanentFailure("speech_output_lost", "the operation succeeded, its output object is not there")
            return _submit_again(context, deps, saved, because=lost, billed_s=operation.billed_s)
        case Next.SUBMIT_AGAIN:
            return _submit_again(context, deps, saved, because=_failure(operation))
        case Next.GIVE_UP if saved.given_up:
            return _submit_again(context, deps, saved, because=_failure(operation))
        case Next.GIVE_UP:
            raise _given_up(context, saved, because=_failure(operation))


def _submit_again(
    context: StageContext,
    deps: TranscribeDeps,
    saved: TranscriptionCheckpoint,
    *,
    because: PermanentFailure,
    billed_s: float = 0.0,
) -> Completed:
    """Use what is there or on its way; pay once more only when nothing is, and not without end."""
    job, submissions = _job_of_checkpoint(deps, saved), logic.submissions_after(saved)
    search = _search(
        context,
        deps,
        job,
        submissions=submissions,
        apart_from=saved.operation,
        rejected=saved.rejected,
        billed_s=billed_s,
    )
    if search.completed is not None:
        return search.completed
    known = saved.model_copy(update={"rejected": search.rejected})
    if not logic.may_submit_again(known):
        raise _given_up(context, known, because=because)
    raise _submitted(context, deps, job, submissions=submissions, rejected=known.rejected)


def _given_up(context: StageContext, saved: TranscriptionCheckpoint, *, because: PermanentFailure) -> PermanentFailure:
    """The dead letter's reason; the note lets a replay submit again, because then a person decided so."""
    context.save_checkpoint(saved.model_copy(update={"given_up": True}).model_dump(mode="json"))
    return because


def _failure(operation: SpeechOperation) -> PermanentFailure:
    """What the dead letter says when another submission is no use any more."""
    if operation.state == "running":
        return PermanentFailure("speech_overdue", "the operation is still running two days after it was submitted")
    code = logic.error_code(operation.error)
    fix = "check Speech's service agent's rights on the audio bucket, then replay" if code in logic.FORBIDDEN else ""
    return PermanentFailure("speech_failed", operation.error or "the operation failed without a reason", fix=fix)


# --- reading, submitting ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Search:
    """What lay under a request's prefix; `rejected` names the unreadable objects, earlier ones included."""

    completed: Completed | None
    rejected: tuple[str, ...]


def _search(
    context: StageContext,
    deps: TranscribeDeps,
    job: SpeechJob,
    *,
    submissions: int,
    apart_from: str = "",
    rejected: tuple[str, ...] = (),
    billed_s: float = 0.0,
) -> _Search:
    """What an attempt left that died between Speech's answer and its own commit: a transcript, or (raises `Waiting`) an
    operation that runs and is not `apart_from`. `submissions` counts that operation.

    In this order: what is not running any more has written its output before.
    """
    operation = deps.speech.running(job, apart_from=apart_from)
    if operation:
        raise _waiting_for(operation, context, deps, job, submissions=submissions, rejected=rejected)
    names = deps.objects.list_names(transcript_prefix(context.tenant.tenant_id, context.request_id))
    for name in logic.readable_outputs(names, rejected=rejected):
        data = deps.objects.read(name, max_bytes=logic.MAX_OUTPUT_BYTES)
        try:
            return _Search(_completed(context, deps, job, data, billed_s=billed_s), rejected)
        except PermanentFailure:
            rejected = (*rejected, name)
    return _Search(None, rejected)


def clean_up(run: StageRun, tenant: Tenant, deps: TranscribeDeps) -> None:
    """Speech's raw output goes: nobody redacted it, and the transcript is stored. The recording too, where wanted."""
    prefixes = [transcript_prefix(tenant.tenant_id, run.key.request_id)]
    if tenant.config.privacy.drop_audio:
        prefixes.append(recording_object(tenant.tenant_id, run.call_id, ""))
    for prefix in prefixes:
        for name in deps.objects.list_names(prefix):
            deps.objects.delete(name)


def _completed(
    context: StageContext, deps: TranscribeDeps, job: SpeechJob, data: bytes, *, billed_s: float = 0.0
) -> Completed:
    """The finished stage. Nobody having spoken is a result too: a transcript without turns.

    Raises `PermanentFailure` when `data` is not Speech's output.
    """
    heard = deps.speech.parse_output(data, job)
    transcript = redact_transcript(heard, context.tenant.config.privacy.redact)
    audio_s = logic.billed_audio_s(billed_s, duration_s=job.duration_s, channels=job.channels)
    return Completed(
        next_event=CallTranscribed(
            tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id
        ),
        changes=CallChanges(transcript=transcript),
        usage=Usage(audio_s=audio_s, model=transcript.model),
    )


def _submitted(
    context: StageContext, deps: TranscribeDeps, job: SpeechJob, *, submissions: int, rejected: tuple[str, ...]
) -> Waiting:
    """The paid step. Nothing may come between Speech's answer and the commit that stores the name."""
    context.begin_paid()
    operation = deps.speech.submit(job)
    return _waiting_for(operation, context, deps, job, submissions=submissions, rejected=rejected)


def _waiting_for(
    operation: str,
    context: StageContext,
    deps: TranscribeDeps,
    job: SpeechJob,
    *,
    submissions: int,
    rejected: tuple[str, ...],
) -> Waiting:
    now = context.now()
    return _still_waiting(
        TranscriptionCheckpoint(
            operation=operation,
            audio_uri=job.audio_uri,
            output_prefix=transcript_prefix(context.tenant.tenant_id, context.request_id),
            channels=job.channels,
            duration_s=job.duration_s,
            model=job.model,
            languages=job.language_codes,
            agent_channel=job.agent_channel,
            submitted_at=now,
            wait_until=logic.look_again_at(now, duration_s=job.duration_s, first_look=deps.first_look),
            submissions=submissions,
            rejected=rejected,
        )
    )


def _still_waiting(checkpoint: TranscriptionCheckpoint) -> Waiting:
    return Waiting(checkpoint=checkpoint.model_dump(mode="json"), until=checkpoint.wait_until)


def _job_of_call(context: StageContext, deps: TranscribeDeps) -> SpeechJob:
    call = deps.calls.get(context.tenant.tenant_id, context.call_id)
    if call is None or call.recording is None:
        raise PermanentFailure("no_recording", "the call has no stored recording")
    config = context.tenant.config
    prefix = transcript_prefix(context.tenant.tenant_id, context.request_id)
    return SpeechJob(
        audio_uri=deps.objects.uri(call.recording.object_name),
        output_uri_prefix=deps.objects.uri(prefix),
        channels=call.recording.channels,
        duration_s=call.recording.duration_s,
        language_codes=config.ai_config.language_codes,
        model=config.ai_config.speech_model or deps.default_model,
        agent_channel=config.recordings.agent_channel,
    )


def _job_of_checkpoint(deps: TranscribeDeps, saved: TranscriptionCheckpoint) -> SpeechJob:
    """The job as it was submitted: later changes of the tenant's settings do not relabel its speakers."""
    return SpeechJob(
        audio_uri=saved.audio_uri,
        output_uri_prefix=deps.objects.uri(saved.output_prefix),
        channels=saved.channels,
        duration_s=saved.duration_s,
        language_codes=saved.languages,
        model=saved.model,
        agent_channel=saved.agent_channel,
    )
