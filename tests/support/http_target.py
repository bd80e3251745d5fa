"""A service under functions-framework, as in production, built in the test instead of from the environment."""

from __future__ import annotations

from collections.abc import Callable

import functions_framework
from flask import Flask, Request, Response, current_app

Service = Callable[[Request], Response]


def target(request: Request) -> Response:
    """What functions-framework finds in this file: hands the request to the service under test."""
    service: Service = current_app.config["SERVICE"]
    return service(request)


def served(service: Service) -> Flask:
    """The service behind functions-framework's own routing, hooks and crash handler."""
    create_app: Callable[..., Flask] = functions_framework.create_app
    app = create_app(target="target", source=__file__, signature_type="http")
    app.config["SERVICE"] = service
    return app
