"""Salesforce credentials as a tenant's secret holds them, and the token request that each flow makes of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

import jwt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from shared.errors import ConfigurationError, TenantBlocked

LOGIN_DOMAIN = ".salesforce.com"
INSTANCE_DOMAINS = (".salesforce.com", ".force.com")
ASSERTION_LIFE = timedelta(minutes=3)
"""Salesforce refuses assertions that live longer than five minutes."""

_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SEE = "store a JSON document as docs/api/salesforce-setup.md describes"


def is_https_host_of(url: str, domains: tuple[str, ...]) -> bool:
    """Whether `url` is plain `https://host` below one of `domains`: tokens and call texts go nowhere else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    plain = parts.path in {"", "/"} and not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme == "https" and port in {None, 443} and plain and host.endswith(domains)


class _Credentials(BaseModel):
    """What both flows share. `domain` is the short form of `login_url`: `acme.my` or the whole host name."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    consumer_key: str = Field(min_length=1, max_length=512)
    login_url: str = ""
    domain: str = ""

    @model_validator(mode="after")
    def _check_login_host(self) -> _Credentials:
        if self.login_url and self.domain:
            raise ValueError("give login_url or domain, not both")
        if not is_https_host_of(self.token_host, (LOGIN_DOMAIN,)):
            raise ValueError("the login address must be https://<name>.salesforce.com, without a path")
        return self

    @property
    def token_host(self) -> str:
        """`https://…` of the host that gives tokens, without a slash at the end."""
        if self.login_url:
            return self.login_url.rstrip("/")
        return f"https://{self.domain.removesuffix(LOGIN_DOMAIN)}{LOGIN_DOMAIN}"


class ClientCredentials(_Credentials):
    """OAuth client credentials: acts as the run-as user of the External Client App; needs the org's My Domain."""

    flow: Literal["client_credentials"]
    consumer_secret: SecretStr = Field(min_length=1)

    def token_form(self, now: datetime) -> dict[str, str]:  # noqa: ARG002 - the other flow signs the time
        """The form fields of the token request."""
        return {
            "grant_type": "client_credentials",
            "client_id": self.consumer_key,
            "client_secret": self.consumer_secret.get_secret_value(),
        }


class JwtBearer(_Credentials):
    """OAuth JWT bearer: a pre-authorised user, proven by our private key; there is no refresh token to keep."""

    flow: Literal["jwt_bearer"]
    username: str = Field(min_length=1, max_length=200)
    private_key_pem: SecretStr = Field(min_length=1)
    audience: str = "https://login.salesforce.com"

    @model_validator(mode="after")
    def _check_audience(self) -> JwtBearer:
        if not is_https_host_of(self.audience, (LOGIN_DOMAIN,)):
            raise ValueError("audience must be https://login.salesforce.com, https://test.salesforce.com or My Domain")
        return self

    @property
    def token_host(self) -> str:
        if self.login_url or self.domain:
            return super().token_host
        return self.audience.rstrip("/")

    def token_form(self, now: datetime) -> dict[str, str]:
        """The form fields of the token request. Raises `ValueError` or `PyJWTError` for a key that cannot sign."""
        claims = {
            "iss": self.consumer_key,
            "sub": self.username,
            "aud": self.audience.rstrip("/"),
            "exp": int((now + ASSERTION_LIFE).timestamp()),
        }
        assertion = jwt.encode(claims, self.private_key_pem.get_secret_value(), algorithm="RS256")
        return {"grant_type": _JWT_GRANT, "assertion": assertion}


Credentials = ClientCredentials | JwtBearer
_CREDENTIALS: TypeAdapter[Credentials] = TypeAdapter(Annotated[Credentials, Field(discriminator="flow")])


def parse_credentials(text: str, *, secret_name: str) -> Credentials:
    """The secret's document. Raises `TenantBlocked` naming what is wrong with it, never what it says."""
    try:
        return _CREDENTIALS.validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors(include_input=False, include_context=False, include_url=False)
        )
    raise TenantBlocked("salesforce_bad_credentials", f"secret {secret_name}: {problems}", fix=_SEE)


def sign_in_form(credentials: Credentials, now: datetime, *, secret_name: str) -> dict[str, str]:
    """The token request's form. Raises `TenantBlocked` when the private key is not one."""
    try:
        return credentials.token_form(now)
    except (ValueError, TypeError, jwt.PyJWTError):
        # The cause stays out: a parser's message may quote the key.
        problem = f"secret {secret_name}: private_key_pem is not an RSA private key in PEM form"
    raise TenantBlocked("salesforce_bad_private_key", problem, fix=_SEE)


def check_override(url: str) -> str:
    """A stand-in's address: plain HTTP on this machine. Raises `ConfigurationError` for anything else."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in {"127.0.0.1", "localhost"}:
        raise ConfigurationError("bad_local_endpoint", "the Salesforce override must be http:// on loopback")
    return url.rstrip("/")
