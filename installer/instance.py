"""An instance: one data directory with its identity and the paths inside it."""

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from installer.endpoint import TcpEndpoint, parse_endpoint
from installer.errors import InstallerError, PreconditionError, UsageError
from installer.roles import SERVICES, facet_port
from portlayer.identity import Role

DEFAULT_DATA_DIR = Path("/var/lib/vic")
VOLATILE_DIR = Path("/run/vic/instances")

# sun_path holds 108 bytes with its NUL; the longest socket below the data directory is
# "hostagent/qmp/<16 hex>.sock", to which we add a reserve.
LONGEST_DATA_DIR = 64

DEFAULT_BASE_SIZE = 8 << 30

AS_PROCESSES, AS_CONTAINERS = "processes", "containers"
"""What facets are: processes that the watcher keeps, or containers of docker-compose.yml."""


@dataclass(frozen=True)
class Options:
    """What `vic up` was told; remembered until it is told otherwise.

    The names are those of the facets' settings, which read the same file.
    """

    host: str
    """The Docker endpoint, ``unix:///PATH`` or ``tcp://ADDRESS:PORT``."""
    insecure_registries: tuple[str, ...] = ()
    """Registries, ``HOST:PORT``, that are spoken to over plain HTTP or with any certificate."""
    registry_mirrors: tuple[str, ...] = ()
    """Base URLs that are asked first for images without a registry's name."""
    log_level: str = "info"
    otlp_endpoint: str = ""
    """OpenTelemetry collector; empty turns export off."""
    tls_verify: bool = False
    """Whether the endpoint speaks TLS, and only to clients with a certificate."""
    tls_ca: str = ""
    """Brought certificates, by absolute paths; empty where `vic` makes them."""
    tls_cert: str = ""
    tls_key: str = ""
    volume_stores: Mapping[str, str] = field(default_factory=dict)
    """URLs of the places beside the data directory where volumes are kept, by name."""
    image_store: str = ""
    """URL of the place where images are kept together with other instances; empty keeps them in
    the data directory."""
    image_quota_bytes: int = 0
    """What images may take; 0 is no limit."""
    base_size_bytes: int = DEFAULT_BASE_SIZE
    """Size of containers' disks as their VMs see them."""
    allowed_registries: tuple[str, ...] = ()
    """The only registries to use; none allows all."""
    registry_authorities: tuple[str, ...] = ()
    """Certificates in PEM form that registries' may be signed by."""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    """Proxies on the way to registries, and hosts that are asked without one."""
    driver: str = "qemu"
    """Where container VMs run: on this machine, or on a vCenter's cluster (``vsphere``)."""
    name: str = ""
    """Of a VCH that `vic create` made."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Limits that `vic create` was told; those that `vic configure` sets later count."""
    container_networks: tuple[Mapping[str, Any], ...] = ()
    """Networks outside that `vic create` was told, until the network service has them."""
    vsphere: Mapping[str, Any] = field(default_factory=dict)
    """What facets and commands need to know of the vCenter."""
    facets: str = AS_PROCESSES


@dataclass(frozen=True)
class Instance:
    """An instance's identity and options; ``DATA/instance.json`` is their record."""

    data_dir: Path
    id: str
    """Eight hexadecimal digits, chosen at the first start."""
    slot: int
    """0 to 255: decides the user IDs, the management subnet and the interfaces' names."""
    options: Options

    @property
    def run_dir(self) -> Path:
        """Sockets of the suite, and the records of its processes."""
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        """One log file a process, with its predecessors."""
        return self.data_dir / "log"

    @property
    def pki_dir(self) -> Path:
        """The authority, and one directory a role."""
        return self.data_dir / "pki"

    @property
    def endpoint_pki(self) -> Path:
        """The Docker endpoint's authority, and its clients' certificates."""
        return self.pki_dir / "endpoint"

    @property
    def bootstrap_dir(self) -> Path:
        """Kernels and bootstrap images of the container VMs, by digest."""
        return self.data_dir / "bootstrap"

    @property
    def kernels_dir(self) -> Path:
        """Packages of kernels that came as files."""
        return self.data_dir / "kernels"

    @property
    def control_socket(self) -> Path:
        """Where the watcher listens."""
        return self.run_dir / "watcher.sock"

    @property
    def volatile_dir(self) -> Path:
        """What must not outlive a reboot, in memory."""
        return VOLATILE_DIR / self.id

    @property
    def processes_file(self) -> Path:
        """Record of the processes that the watcher started."""
        return self.volatile_dir / "processes.json"

    @property
    def endpoint_note(self) -> Path:
        """Which file the Docker endpoint is, where it is one that the watcher holds."""
        return self.volatile_dir / "endpoint.json"

    @property
    def database_dir(self) -> Path:
        """PostgreSQL's data, where facets run in containers."""
        return self.data_dir / "database"

    @property
    def in_containers(self) -> bool:
        """Whether the facets are containers."""
        return self.options.facets == AS_CONTAINERS

    def socket(self, role: Role) -> Path:
        """Return the gRPC socket of a process."""
        return self.run_dir / f"{role}.sock"

    @property
    def targets(self) -> dict[str, str]:
        """gRPC addresses of the facets that have no socket in DATA/run, by role."""
        if not self.in_containers:
            return {}
        roles = [kind.role for kind in SERVICES if kind.role is not Role.GATEWAY]
        return {role.value: f"127.0.0.1:{facet_port(role, self.slot)}" for role in roles}

    def target(self, role: Role) -> str:
        """Return the gRPC address of a process."""
        return self.targets.get(role.value, f"unix:{self.socket(role)}")

    def may_answer(self, role: Role) -> bool:
        """Tell whether it makes sense to call a process: where it never was, it doesn't."""
        return role.value in self.targets or self.socket(role).exists()

    def log_file(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.log_dir / f"{name}.log"


def check_data_dir(path: Path) -> Path:
    """Return a data directory as an absolute path without links.

    Raises UsageError where its sockets' paths would be longer than a socket address can hold.
    """
    resolved = Path(os.path.realpath(path))
    if len(os.fsencode(resolved)) > LONGEST_DATA_DIR:
        raise UsageError(
            f"the data directory's path is too long: {resolved} has "
            f"{len(os.fsencode(resolved))} bytes, a socket below it allows {LONGEST_DATA_DIR}; "
            "choose a shorter one with --data-dir"
        )
    return resolved


def no_data_dir(path: Path, error: OSError) -> InstallerError:
    """Return what is said of a data directory that is none, or can't be made."""
    return PreconditionError(f"{path} can't be a data directory: {error.strerror}")


def load_instance(data_dir: Path) -> Instance | None:
    """Return the instance of a data directory, or None where `vic up` has never been run on it.

    Raises InstallerError when the record is there and cannot be read.
    """
    path = data_dir / "instance.json"
    try:
        fields = json.loads(path.read_text())
        options = Options(
            host=str(fields["host"]),
            insecure_registries=tuple(fields["insecure_registries"]),
            registry_mirrors=tuple(fields["registry_mirrors"]),
            allowed_registries=tuple(fields.get("allowed_registries", ())),
            registry_authorities=tuple(fields.get("registry_authorities", ())),
            http_proxy=str(fields.get("http_proxy", "")),
            https_proxy=str(fields.get("https_proxy", "")),
            no_proxy=tuple(fields.get("no_proxy", ())),
            log_level=str(fields["log_level"]),
            otlp_endpoint=str(fields["otlp_endpoint"]),
            tls_verify=bool(fields.get("tls_verify", False)),
            tls_ca=str(fields.get("tls_ca", "")),
            tls_cert=str(fields.get("tls_cert", "")),
            tls_key=str(fields.get("tls_key", "")),
            volume_stores=dict(fields.get("volume_stores", {})),
            image_store=str(fields.get("image_store", "")),
            image_quota_bytes=int(fields.get("image_quota_bytes", 0)),
            base_size_bytes=int(fields.get("base_size_bytes", DEFAULT_BASE_SIZE)),
            driver=str(fields.get("driver", "qemu")),
            name=str(fields.get("name", "")),
            limits=dict(fields.get("limits") or {}),
            container_networks=tuple(fields.get("container_networks") or ()),
            vsphere=dict(fields.get("vsphere") or {}),
            facets=str(fields.get("facets", AS_PROCESSES)),
        )
        return Instance(data_dir, str(fields["instance_id"]), int(fields["slot"]), options)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise no_data_dir(data_dir, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InstallerError(f"{path} is damaged ({error!r}); restore it from a copy") from error


def store_paths(data_dir: Path) -> list[Path]:
    """Return the directories of an instance's stores that its record has and are there."""
    try:
        fields = json.loads((data_dir / "instance.json").read_text())
        return [path for path in map(Path, fields.get("stores", ())) if path.is_dir()]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def default_options(data_dir: Path) -> Options:
    """Return the options of an instance that was told nothing.

    The machine's default instance has the endpoint that users are told of; any other keeps its own
    beside its data.
    """
    if data_dir == DEFAULT_DATA_DIR:
        return Options(host="unix:///run/vic/docker.sock")
    return Options(host=f"unix://{data_dir}/run/docker.sock")


def new_instance_id() -> str:
    """Return an identity for a new instance."""
    return secrets.token_hex(4)


def save_instance(
    instance: Instance, stores: Mapping[str, Path] | None = None, images: Path | None = None
) -> None:
    """Write the record of an instance, in one step.

    `stores` are its volume stores' directories, `images` that of an image store it shares.
    """
    directories = {name: str(path) for name, path in (stores or {}).items()}
    endpoint = parse_endpoint(instance.options.host)
    fields = {
        "instance_id": instance.id,
        "slot": instance.slot,
        **asdict(instance.options),
        "vsphere": dict(instance.options.vsphere) or None,
        "targets": instance.targets,
        # A setting of the network service: what containers must not reach on this host.
        "closed_ports": [endpoint.port] if isinstance(endpoint, TcpEndpoint) else [],
        # Of the storage service, and of the host agent, which opens the disks.
        "volume_directories": directories,
        "image_store_directory": None if images is None else str(images),
        "stores": [*directories.values(), *([] if images is None else [str(images)])],
    }
    write_file(instance.data_dir / "instance.json", json.dumps(fields, indent=2).encode() + b"\n")


def amend_record(instance: Instance, **changes: Any) -> None:
    """Change fields of an instance's record, in one step."""
    path = instance.data_dir / "instance.json"
    fields = {**json.loads(path.read_text()), **changes}
    write_file(path, json.dumps(fields, indent=2).encode() + b"\n")


def write_file(
    path: Path, content: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Put a file in place in one step: readers see the old one or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
