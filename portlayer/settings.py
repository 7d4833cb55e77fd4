"""Settings of a facet: flags over environment over the instance's file over defaults.

The environment's names begin with ``VIC_`` (``VIC_DATA_DIR``); flags are the fields' names
(``--data_dir DIR``). The file is ``instance.json`` in the data directory, or what
``VIC_SETTINGS_FILE`` names.
"""

import argparse
import os
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    CliApp,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from portlayer.identity import Role

DEFAULT_DATA_DIR = Path("/var/lib/vic")

# Of the command line that is being read: the instance's file lies there.
_flagged_data_dir: ContextVar[str | None] = ContextVar("flagged_data_dir", default=None)


class FacetSettings(BaseSettings):
    """What every service needs to know; a facet adds its own fields in a subclass."""

    model_config = SettingsConfigDict(env_prefix="VIC_", extra="ignore", frozen=True)

    role: ClassVar[Role]

    data_dir: Path = Field(DEFAULT_DATA_DIR, description="Directory of the instance's state.")
    instance_id: str = Field(
        pattern=r"^[0-9a-f]{8}$",
        description="Identity of the instance, eight hexadecimal digits.",
    )
    slot: int = Field(ge=0, le=255, description="Number of the instance on this machine.")
    listen: list[str] = Field(
        default_factory=list,
        description="gRPC addresses to serve; by default the role's socket in DATA/run.",
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL; by default a SQLite file in the facet's directory."
    )
    targets: dict[str, str] = Field(
        default_factory=dict,
        description="gRPC address of another role where it isn't its socket in DATA/run.",
    )
    share_ports: bool = Field(
        False,
        description="Whether others of this role serve at the same TCP addresses: replicas, "
        "between which the kernel divides the connections.",
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    otlp_endpoint: str = Field("", description="OpenTelemetry collector; empty turns export off.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the instance's file below the environment."""
        told = _flagged_data_dir.get() or os.environ.get("VIC_DATA_DIR")
        data_dir = Path(told or DEFAULT_DATA_DIR)
        path = Path(os.environ.get("VIC_SETTINGS_FILE", data_dir / "instance.json"))
        return init_settings, env_settings, JsonConfigSettingsSource(settings_cls, json_file=path)

    @classmethod
    def from_command_line(cls) -> Self:
        """Read flags, environment and file. Exits with a usage message on a wrong flag."""
        flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        flags.add_argument("--data_dir")
        token = _flagged_data_dir.set(flags.parse_known_args(sys.argv[1:])[0].data_dir)
        try:
            return CliApp.run(cls)
        finally:
            _flagged_data_dir.reset(token)

    @property
    def state_dir(self) -> Path:
        """The facet's own directory."""
        return self.data_dir / self.role.value

    @property
    def credentials_dir(self) -> Path:
        """Directory of the role's certificate and key."""
        return self.data_dir / "pki" / self.role.value

    @property
    def addresses(self) -> list[str]:
        """gRPC addresses to serve."""
        return self.listen or [f"unix:{self.data_dir}/run/{self.role.value}.sock"]

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the facet's database."""
        default = f"sqlite:///{self.state_dir}/{self.role.value}.db"
        return self.database_url or default

    def insist_on_shared_state(self) -> None:
        """Raise ValueError where replicas would each have a database of their own."""
        if self.share_ports and not self.database_url.startswith("postgresql"):
            raise ValueError(
                f"replicas of {self.role} need one PostgreSQL database: give database_url"
            )

    def target(self, role: Role) -> str:
        """Return the gRPC address of another role."""
        return self.targets.get(role.value, f"unix:{self.data_dir}/run/{role.value}.sock")
