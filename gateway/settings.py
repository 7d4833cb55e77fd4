"""Settings of the gateway."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from gateway.build.web import Web
from portlayer.identity import Role
from portlayer.settings import FacetSettings
from portlayer.web.proxies import Proxies


class GatewaySettings(FacetSettings):
    """Where the Docker endpoint listens, and whom it trusts to call it."""

    role: ClassVar[Role] = Role.GATEWAY

    gateway_listen_fd: Annotated[list[int], NoDecode] = Field(
        default_factory=list,
        description="Inherited descriptors of listening sockets, separated by commas.",
    )
    gateway_listen: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses to listen on itself, separated by commas: unix:///PATH or "
        "tcp://127.0.0.1:PORT.",
    )
    gateway_names: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Host names, besides IP addresses and localhost, under which clients come.",
    )
    gateway_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Web origins whose pages may call the API."
    )

    tls_verify: bool = Field(
        default=False,
        description="Speak TLS, with the files in DATA/pki/endpoint-server, and only to clients "
        "whose certificates they vouch for.",
    )

    http_proxy: str = Field("", description="URL of the proxy for what builds fetch by HTTP.")
    https_proxy: str = Field("", description="URL of the proxy for what they fetch by HTTPS.")
    no_proxy: list[str] = Field(
        default_factory=list, description='Hosts, or ".domain"s, to ask without a proxy.'
    )

    @property
    def web(self) -> Web:
        """How builds fetch what is elsewhere. Raises ValueError for proxies that are none."""
        return Web(Proxies(self.http_proxy, self.https_proxy, self.no_proxy))

    @model_validator(mode="after")
    def _check_web(self) -> Self:
        _ = self.web
        return self

    @property
    def tls_dir(self) -> Path:
        """Where ``ca.crt``, ``tls.crt`` and ``tls.key`` of the endpoint are."""
        return self.data_dir / "pki" / "endpoint-server"

    @field_validator(
        "gateway_listen_fd", "gateway_listen", "gateway_names", "gateway_origins", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value
