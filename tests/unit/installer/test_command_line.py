"""The `vic` command's own messages."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vic.exec.v1 import exec_pb2

from installer import checks, clients, up
from installer.__main__ import main
from installer.bootstrap import provide_bootstrap, prune_cache
from installer.clients import issue_client
from installer.configure import parse_factor, wish
from installer.errors import PreconditionError, UsageError
from installer.instance import Instance, Options, default_options, save_instance
from installer.kernels import provide_kernels
from installer.pki import Authority
from installer.registries import RegistryWishes
from installer.slots import claim_slot
from installer.status import Hypervisor, ReadyClones, Status
from installer.up import lock_data_dir
from installer.wishes import Wishes
from portlayer.identity import Role


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for sockets below it, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def instance(short_dir: Path) -> Instance:
    made = Instance(short_dir, "0a1b2c3d", 0, default_options(short_dir))
    save_instance(made)
    for directory in (made.run_dir, made.pki_dir, made.bootstrap_dir):
        directory.mkdir()
    return made


@pytest.fixture
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize("command", ["up", "down", "restart"])
def test_who_is_not_root_is_told_so(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main([command, "--data-dir", str(tmp_path)]) == 1
    assert f"vic {command} needs root" in capsys.readouterr().err


@pytest.mark.usefixtures("_root")
def test_an_endpoint_off_loopback_is_refused_before_anything_is_made(
    short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = short_dir / "data"
    assert main(["up", "--data-dir", str(data_dir), "--host", "tcp://0.0.0.0:2375"]) == 2
    assert "refusing a plain TCP listener" in capsys.readouterr().err
    assert not data_dir.exists()


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--insecure-registry", "http://10.0.0.5:5000"),
        ("--insecure-registry", "10.0.0.0/99"),
        ("--insecure-registry", "10.0.0.5:http"),
        ("--insecure-registry", ""),
        ("--registry-mirror", "mirror.example.org"),
        ("--registry-mirror", "ftp://mirror.example.org"),
    ],
)
def test_a_registry_that_cannot_be_is_refused_before_anything_is_made(
    short_dir: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    data_dir = short_dir / "data"
    assert main(["up", "--data-dir", str(data_dir), option, value]) == 2
    assert f"invalid {option} {value!r}" in capsys.readouterr().err
    assert not data_dir.exists()


@pytest.mark.usefixtures("_root")
def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SAFE_PATH", "/nonexistent")
    with pytest.raises(PreconditionError) as refusal:
        checks.require_machine()
    assert "apt-get install qemu-system-x86" in str(refusal.value)
    assert "apt-get install nftables" in str(refusal.value)


@pytest.mark.usefixtures("_root")
def test_two_commands_at_once_on_one_directory_are_kept_apart(tmp_path: Path) -> None:
    with (
        lock_data_dir(tmp_path),
        pytest.raises(PreconditionError, match="another vic command"),
        lock_data_dir(tmp_path),
    ):
        pass


def test_what_is_not_wished_for_stays_as_it_was() -> None:
    remembered = Options("unix:///a", ("10.0.0.1:5000",), (), "debug")
    assert Wishes(Path("/d")).options(remembered) == remembered
    changed = Wishes(Path("/d"), insecure_registries=(), log_level="info").options(remembered)
    assert changed == Options("unix:///a", (), (), "info")


@pytest.mark.usefixtures("_root")
def test_a_running_suite_is_not_moved_to_another_endpoint(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(up, "is_running", lambda instance: True)
    arguments = ["up", "--data-dir", str(instance.data_dir), "--host", "unix:///run/other.sock"]
    assert main(arguments) == 1
    assert "run `vic down` before" in capsys.readouterr().err


@pytest.mark.usefixtures("_root")
def test_up_again_changes_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(up, "is_running", lambda instance: True)
    assert main(["up", "--data-dir", str(instance.data_dir)]) == 0
    assert instance.options.host in capsys.readouterr().out


def test_status_of_nothing_says_how_to_begin(
    short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--data-dir", str(short_dir)]) == 1
    assert "vic up" in capsys.readouterr().err


def test_status_of_a_stopped_suite_says_so(
    instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--data-dir", str(instance.data_dir)]) == 3
    assert "the suite is not running" in capsys.readouterr().out


def test_status_tells_accelerator_and_reason() -> None:
    process = {
        "role": "exec",
        "state": "healthy",
        "pid": 7,
        "uptime_seconds": 90061.0,
        "restarts": 1,
        "last_exit": "exit code 1",
    }
    hypervisor = Hypervisor("QEMU", "7.2", "tcg", "/dev/kvm is not there", 2, ())
    ready = ReadyClones(1, 2, True, 40, 3)
    status = Status("0a1b2c3d", "/d", 0, "unix:///x", True, 6, [process], hypervisor, ready)
    assert "1 of 2 (auto) ready, 40 used, 3 failed" in status.to_text()
    assert "tcg: /dev/kvm is not there" in status.to_text()
    assert "1d01h" in status.to_text()
    assert json.loads(status.to_json())["hypervisor"]["accelerator"] == "tcg"
    assert status.exit_code == 0


@pytest.mark.usefixtures("_root")
def test_a_client_gets_a_certificate_of_its_role(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority.create(instance.id).write(instance.pki_dir)
    monkeypatch.setattr(clients, "_asker", lambda: (os.getuid(), os.getgid()))
    out = issue_client(instance.data_dir, "ops", Role.OPERATOR, tmp_path / "ops")
    assert {path.name for path in out.iterdir()} == {"ca.crt", "tls.crt", "tls.key"}
    with pytest.raises(UsageError, match="holds a client's certificate already"):
        issue_client(instance.data_dir, "ops", Role.OPERATOR, out)


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "n" * 65, "ü"])
def test_a_clients_name_cannot_be_anything(instance: Instance, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="invalid client name"):
        issue_client(instance.data_dir, name, Role.VIEWER, tmp_path / "out")


def test_a_bootstrap_image_is_linked_and_the_former_one_unlinked(
    instance: Instance, tmp_path: Path
) -> None:
    for digest in ("a" * 64, "b" * 64):
        image = tmp_path / f"image-{digest[0]}"
        image.mkdir()
        (image / "vmlinuz").touch()
        (image / "initrd.img").touch()
        (image / "manifest.json").write_text(json.dumps({"digest": digest}))
        assert provide_bootstrap(instance, image) == digest
        provide_kernels(instance, digest, print)
        left = {entry.name for entry in instance.bootstrap_dir.iterdir()}
        assert left == {digest, "kernels.json"}
        assert (instance.bootstrap_dir / digest / "vmlinuz").exists()


def test_old_images_go_but_those_in_use_and_the_latest_stay(
    instance: Instance, tmp_path: Path
) -> None:
    cache, slots = tmp_path / "cache", tmp_path / "slots"
    in_use, unused, latest, new = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    for name in (in_use, unused, latest, new, "downloads", ".build-killed"):
        (cache / name).mkdir(parents=True)
        (cache / name / "initrd.img").touch()
        if name != new:
            os.utime(cache / name, (0, 0))
    (cache / "current").mkdir()
    (cache / "current" / "old").write_text(unused)
    (cache / "current" / "key").write_text(latest)
    (instance.bootstrap_dir / in_use).symlink_to(cache / in_use)
    claim = claim_slot(instance.id, instance.data_dir, 0, lambda *_: True, slots)
    prune_cache(keep=latest, cache=cache, slots_dir=slots)
    left = {entry.name for entry in cache.iterdir()}
    assert left == {in_use, latest, new, "downloads", "current"}
    assert os.listdir(cache / "current") == ["key"]
    claim.drop()
    prune_cache(keep=latest, cache=cache, slots_dir=slots)
    assert not (cache / in_use).exists()


def test_a_directory_that_is_no_bootstrap_image_is_refused(
    instance: Instance, tmp_path: Path
) -> None:
    with pytest.raises(
        PreconditionError, match=re.escape("lacks vmlinuz, initrd.img, manifest.json")
    ):
        provide_bootstrap(instance, tmp_path)


@pytest.mark.parametrize("command", ["up", "configure"])
@pytest.mark.parametrize("number", ["-1", "two", "1.5", "", "٢", "10000"])
def test_a_number_of_ready_clones_that_is_none_is_refused(
    command: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, f"--ready-clones={number}"]) == UsageError.exit_code
    assert "not a number of ready clones" in capsys.readouterr().err


def test_what_is_asked_of_exec_is_what_was_given() -> None:
    assert wish() == exec_pb2.ConfigureRequest()
    assert wish(ready_clones="auto", start="clone") == exec_pb2.ConfigureRequest(
        ready_clones=-1, cold=False
    )
    assert wish(ready_clones="0", start="cold") == exec_pb2.ConfigureRequest(
        ready_clones=0, cold=True
    )
    assert wish(
        cpu_reservation="1.5", memory_reservation="none", cpu_shares="high", memory_shares="7"
    ) == exec_pb2.ConfigureRequest(
        cpu_reservation_millis=1500,
        memory_reservation_bytes=0,
        cpu_shares=200,
        memory_shares=7,
    )


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--cpu-reservation=-1", "not a number of CPUs"),
        ("--cpu-reservation=1.2345", "not a number of CPUs"),
        ("--memory-reservation=much", "not a size"),
        ("--cpu-shares=0", "not a number of shares"),
        ("--memory-shares=most", "not a number of shares"),
    ],
)
def test_reservations_that_are_none_are_refused(
    option: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["configure", option, "--memory-limit=more", "--cpu-limit=2"]) == 2
    # With what else is wrong, each by its option.
    error = capsys.readouterr().err
    assert f"{option.partition('=')[0]}: {told}" in error
    assert "--memory-limit: not a size: 'more'" in error
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "percent"), [("4", 400), ("1.5", 150), ("0.25", 25), ("0", 1), ("default", 0)]
)
def test_factors_are_read_as_percent(text: str, percent: int) -> None:
    assert parse_factor(text) == percent


@pytest.mark.parametrize("text", ["", "-1", "much", "1.234", "1,5", "12345", "none"])
def test_what_is_no_factor_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a factor"):
        parse_factor(text)


def test_the_way_to_registries_is_checked_and_remembered(tmp_path: Path) -> None:
    authority = Authority.create("test")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    wishes = RegistryWishes(
        allowed=("*.example",),
        authorities=(str(tmp_path / "ca.pem"),),
        https_proxy="http://proxy.example:3128",
        no_proxy=(".local",),
    )
    remembered = Wishes(Path("/d"), registries=wishes).options(Options("unix:///a"))
    assert remembered.registry_authorities == (authority.pem.decode(),)
    assert (remembered.https_proxy, remembered.no_proxy) == (wishes.https_proxy, (".local",))
    assert Wishes(Path("/d")).options(remembered) == remembered
    away = RegistryWishes(allowed=("",), authorities=("",), https_proxy="", no_proxy=("",))
    assert Wishes(Path("/d"), registries=away).options(remembered) == Options("unix:///a")
    (tmp_path / "no.pem").write_text("nonsense")
    (tmp_path / "key.pem").write_bytes(authority.pem + b"-----BEGIN PRIVATE KEY-----")
    for bad in (
        RegistryWishes(allowed=("a b",)),
        RegistryWishes(authorities=(str(tmp_path / "no.pem"),)),
        RegistryWishes(authorities=(str(tmp_path / "key.pem"),)),
        RegistryWishes(authorities=("/nosuch",)),
        RegistryWishes(http_proxy="ftp://x"),
        RegistryWishes(http_proxy="http://user:secret@proxy"),
        RegistryWishes(no_proxy=("10.0.0.0/8",)),
    ):
        with pytest.raises(UsageError):
            bad.options()


def test_who_stops_reading_is_told_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "installer", "role"],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


def test_what_cannot_be_written_is_said() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "installer", "role"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    said = b"vic: could not write: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)
