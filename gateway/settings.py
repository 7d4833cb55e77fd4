"""Settings of the gateway."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from portlayer.identity import Role
from portlayer.settings import FacetSettings


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
