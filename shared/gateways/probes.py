"""Short looks at the pipeline's neighbours: can the database, the bucket, Speech and Vertex AI be reached?"""

from __future__ import annotations

from collections.abc import Callable

from shared.gateways import gemini, speech
from shared.gateways.channels import loopback_channel
from shared.gateways.database import OpenDatabase
from shared.gateways.spanner_errors import read_retry
from shared.gateways.storage_probe import storage_answers
from shared.settings import Settings

_TIMEOUT_S = 2.0

Probe = Callable[[], bool]


def neighbour_probes(settings: Settings, open_database: OpenDatabase) -> dict[str, Probe]:
    """Probes by the names of the health page."""
    return {
        "database": lambda: _database_answers(open_database),
        "storage": lambda: storage_answers(settings),
        "speech_api": lambda: _reachable(settings.stand_ins.speech, speech.endpoint(settings.speech_location)),
        "vertex_ai": lambda: _reachable(settings.stand_ins.vertex, gemini.endpoint_of(settings.vertex_location)),
    }


def _database_answers(open_database: OpenDatabase) -> bool:
    from google.api_core.exceptions import GoogleAPICallError

    try:
        with open_database().snapshot() as snapshot:
            return list(snapshot.execute_sql("SELECT 1", timeout=_TIMEOUT_S, retry=read_retry(_TIMEOUT_S))) == [[1]]
    except GoogleAPICallError:
        return False


def _reachable(local_address: str, google_host: str) -> bool:
    """Whether a gRPC connection comes up; asking for more would cost money or quota at every look."""
    import grpc

    channel = (
        loopback_channel(local_address)
        if local_address
        else grpc.secure_channel(f"{google_host}:443", grpc.ssl_channel_credentials())
    )
    try:
        grpc.channel_ready_future(channel).result(timeout=_TIMEOUT_S)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True
