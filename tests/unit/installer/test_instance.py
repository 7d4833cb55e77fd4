"""The record of an instance."""

import json
import os
from pathlib import Path

import pytest

from installer.errors import InstallerError, UsageError
from installer.instance import (
    DEFAULT_DATA_DIR,
    Instance,
    Options,
    check_data_dir,
    default_options,
    load_instance,
    new_instance_id,
    save_instance,
    write_file,
)
from portlayer import settings
from services.network.settings import NetworkSettings

OPTIONS = Options(
    host="unix:///run/x.sock",
    insecure_registries=("10.0.0.1:5000",),
    registry_mirrors=("http://127.0.0.1:5001",),
    log_level="debug",
    tls_verify=True,
    tls_ca="/ca",
    tls_cert="/cert",
    tls_key="/key",
)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    instance = Instance(tmp_path, new_instance_id(), 7, OPTIONS)
    save_instance(instance)
    assert load_instance(tmp_path) == instance


def test_a_record_of_an_earlier_version_has_the_default_of_what_is_new(tmp_path: Path) -> None:
    save_instance(Instance(tmp_path, new_instance_id(), 7, OPTIONS))
    path = tmp_path / "instance.json"
    fields = json.loads(path.read_text())
    del fields["volume_stores"]
    path.write_text(json.dumps(fields))
    loaded = load_instance(tmp_path)
    assert loaded is not None
    assert loaded.options.volume_stores == {}


def test_an_unused_directory_holds_no_instance(tmp_path: Path) -> None:
    assert load_instance(tmp_path) is None
    assert load_instance(tmp_path / "missing") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"instance_id": "x"}', "\0"])
def test_a_damaged_record_is_said_to_be_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "instance.json").write_text(content)
    with pytest.raises(InstallerError, match=r"instance\.json is damaged"):
        load_instance(tmp_path)


def test_the_facets_read_the_record_as_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_instance(Instance(tmp_path, "0a1b2c3d", 7, OPTIONS))
    monkeypatch.setenv("VIC_DATA_DIR", str(tmp_path))
    read = NetworkSettings()  # type: ignore[call-arg]
    assert (read.instance_id, read.slot, read.log_level) == ("0a1b2c3d", 7, "debug")
    assert read.data_dir == tmp_path


def test_containers_are_kept_from_a_tcp_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_instance(Instance(tmp_path, "0a1b2c3d", 7, Options(host="tcp://127.0.0.1:2375")))
    monkeypatch.setenv("VIC_DATA_DIR", str(tmp_path))
    assert NetworkSettings().closed_ports == [2375]  # type: ignore[call-arg]


def test_the_default_directory_is_the_facets() -> None:
    assert DEFAULT_DATA_DIR == settings.DEFAULT_DATA_DIR


def test_the_default_endpoint_lies_in_the_data_directory(tmp_path: Path) -> None:
    assert default_options(tmp_path).host == f"unix://{tmp_path}/run/docker.sock"
    assert default_options(Path("/var/lib/vic")).host == "unix:///run/vic/docker.sock"


def test_a_path_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        check_data_dir(Path("/" + "d" * 64))


def test_a_data_directory_is_known_by_its_real_path(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    short = Path(f"/tmp/vic-test-{os.getpid()}")
    short.symlink_to(real)
    try:
        if len(str(real)) <= 64:
            assert check_data_dir(short) == real
        else:
            with pytest.raises(UsageError, match="too long"):
                check_data_dir(short)
    finally:
        short.unlink()


def test_a_failed_write_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_record_is_readable_by_all_and_has_no_secret(tmp_path: Path) -> None:
    save_instance(Instance(tmp_path, "0a1b2c3d", 0, OPTIONS))
    path = tmp_path / "instance.json"
    assert path.stat().st_mode & 0o777 == 0o644
    assert set(json.loads(path.read_text())) == {
        "facets",
        "targets",
        "image_store",
        "image_store_directory",
        "image_quota_bytes",
        "base_size_bytes",
        "tls_verify",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "instance_id",
        "slot",
        "host",
        "insecure_registries",
        "registry_mirrors",
        "allowed_registries",
        "registry_authorities",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "log_level",
        "otlp_endpoint",
        "volume_stores",
        "closed_ports",
        "volume_directories",
        "stores",
        "driver",
        "name",
        "limits",
        "container_networks",
        "vsphere",
    }
