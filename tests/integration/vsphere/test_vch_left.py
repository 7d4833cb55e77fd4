"""A `vic create` that fails, where it can't take back all that it made."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import SoapAdapter

from installer.__main__ import main
from installer.instance import load_instance
from portlayer.errors import Unavailable
from portlayer.vsphere import datastore
from tests.integration.vsphere.vch import CLUSTER, inventory, place, target
from tests.vcenter import Simulator, simulator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="vic create needs root")


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    """A vCenter of its own."""
    with simulator() as running:
        yield running


@pytest.mark.parametrize(
    ("call", "carried_out"), [("CreateResourcePool", True), ("Destroy_Task", False)]
)
def test_the_record_of_what_may_be_left_stays(
    own: Simulator,
    medium: Path,
    short_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    carried_out: bool,
) -> None:
    before = inventory(own)
    invoke: Callable[..., Any] = SoapAdapter.SoapStubAdapter.InvokeMethod

    def lose(self: Any, mo: object, info: Any, *rest: object) -> Any:
        if info.wsdlName != call:
            return invoke(self, mo, info, *rest)
        if carried_out:
            invoke(self, mo, info, *rest)
        raise ConnectionResetError(104, "Connection reset by peer")

    async def put(*_: object) -> None:
        raise Unavailable("the datastore is away")

    options = ["--data-dir", str(short_path / "left"), "--name", "left"]
    options += [*target(own), *place(), "--bootstrap-iso", str(medium)]
    with monkeypatch.context() as patched:
        patched.setattr(SoapAdapter.SoapStubAdapter, "InvokeMethod", lose)
        patched.setattr(datastore, "put", put)
        assert main(["create", *options]) == 1
    said = capsys.readouterr().err
    assert "may be there still: " in said
    assert f"resource pool {CLUSTER}/Resources/left" in said
    assert f"; `vic delete --data-dir {short_path}/left` removes it" in said
    assert inventory(own) != before
    assert load_instance(short_path / "left") is not None
    # It goes on where it ended, and can be undone.
    assert main(["create", *options]) == 0
    assert main(["delete", "--data-dir", str(short_path / "left")]) == 0
    assert inventory(own) == before
