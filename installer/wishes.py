"""What the command line of `vic up` says, and the options that come of it."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from installer.containers import settled
from installer.endpoint import check_port, parse_endpoint
from installer.endpoint_tls import check_tls
from installer.errors import UsageError
from installer.images import ImageWishes
from installer.instance import AS_CONTAINERS, Options, check_data_dir
from installer.registries import RegistryWishes
from installer.stores import parse_stores

REGISTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Wishes:
    """What the command line of `vic up` says; None leaves what was remembered."""

    data_dir: Path
    host: str | None = None
    insecure_registries: tuple[str, ...] | None = None
    registry_mirrors: tuple[str, ...] | None = None
    registries: RegistryWishes = field(default_factory=RegistryWishes)
    log_level: str | None = None
    otlp_endpoint: str | None = None
    volume_stores: tuple[str, ...] | None = None
    images: ImageWishes = field(default_factory=ImageWishes)
    tls_verify: bool | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    bootstrap: Path | None = None
    facets: str | None = None
    configures: bool = False
    """Whether exec is to be configured as soon as it is up."""

    def options(self, remembered: Options) -> Options:
        """Return the remembered options with what is wished for now."""
        self._check_registries()
        wished: dict[str, Any] = {
            "host": None if self.host is None else str(parse_endpoint(self.host)),
            "insecure_registries": self.insecure_registries,
            "registry_mirrors": self.registry_mirrors,
            **self.registries.options(),
            **self.images.options(),
            "log_level": self.log_level,
            "otlp_endpoint": self.otlp_endpoint,
            "facets": self.facets,
            "volume_stores": None
            if self.volume_stores is None
            else parse_stores(self.volume_stores),
        }
        wished |= self._tls()
        options = replace(remembered, **{k: v for k, v in wished.items() if v is not None})
        if options.facets == AS_CONTAINERS:
            if self.configures:
                raise UsageError(
                    "--ready-clones: exec comes up after `vic up` where facets run in containers; "
                    "run `vic configure --ready-clones` once it is there"
                )
            data_dir = check_data_dir(self.data_dir)
            options = settled(options, data_dir, host_said=self.host is not None)
        endpoint = parse_endpoint(options.host)
        check_port(endpoint)
        check_tls(options, endpoint)
        return options

    def _tls(self) -> dict[str, Any]:
        """Return what is said of TLS; another endpoint begins without, unless it is said again."""
        brought = {"tls_ca": self.tls_ca, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        paths = {name: path and str(path.absolute()) for name, path in brought.items()}
        if self.host is not None and self.tls_verify is None:
            return {"tls_verify": False} | {name: path or "" for name, path in paths.items()}
        return {"tls_verify": self.tls_verify, **paths}

    def _check_registries(self) -> None:
        """Raise UsageError for what the storage service could not start with."""
        from services.storage.imagec.endpoints import Endpoints

        for entry in self.insecure_registries or ():
            try:
                Endpoints(insecure=[entry])
                valid = "/" in entry or bool(REGISTRY.fullmatch(entry))
            except ValueError:
                valid = False
            if not valid:
                raise UsageError(
                    f"invalid --insecure-registry {entry!r}: expected HOST, HOST:PORT or a network "
                    "such as 10.0.0.0/8"
                )
        for url in self.registry_mirrors or ():
            try:
                Endpoints(mirrors=[url])
            except ValueError:
                raise UsageError(
                    f"invalid --registry-mirror {url!r}: expected https://HOST[:PORT]"
                ) from None
