"""Entry points for functions-framework: `FUNCTION_TARGET` names a service, and only that one is built.

    functions-framework --source handlers/main.py --target analyze

Looking a target up builds it (PEP 562), so a service imports nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Request, Response

Target = Callable[[Request], Response]

TARGETS = ("webhook", "download", "transcribe", "analyze", "crm_sync", "dead_letter", "operator")

_built: dict[str, Target] = {}


def __getattr__(name: str) -> Target:
    if name not in TARGETS:
        raise AttributeError(name)
    if name not in _built:
        try:
            _built[name] = _build(name)
        except AttributeError as error:
            # Left as it is, it would be read as "there is no such service" by whoever asked for the attribute.
            raise RuntimeError(f"service {name} could not be built") from error
    return _built[name]


def _build(name: str) -> Target:
    from handlers import wiring
    from handlers.wiring_telemetry import telemetry_of
    from shared.crash_points import arm
    from shared.logs import configure_logging
    from shared.settings import load_settings

    settings = load_settings()
    configure_logging(service=name, project_id=settings.project_id, level=settings.log_level, version=settings.revision)
    arm(settings.crash_points, service=name, marks=settings.crash_marks)
    telemetry = telemetry_of(settings, service=name)
    service = wiring.build_service(name, settings, telemetry)

    # functions-framework accepts plain functions only, not callable objects.
    def target(request: Request) -> Response:
        return service(request)

    return target
