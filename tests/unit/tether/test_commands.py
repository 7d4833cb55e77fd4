"""Launches on their way from interaction to the supervisor, and from there to the process."""

import marshal

import pytest
from vic.tether.v1.process_pb2 import FileRead, FileTask, FileWrite, ProcessSpec, SandboxOptions
from vic.tether.v1.tether_pb2 import LaunchCommand

from tether.agent.commands import launch_message, process_request
from tether.supervisor.processes import launch_order
from tether.supervisor.request import ProcessRequest, SandboxRequest, process_of

SPEC = ProcessSpec(args=["sh", "-c", "true"], env=["A=b"], cwd="/tmp", user="app", tty=True)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        ProcessSpec(files=FileTask(read=FileRead(path="/etc", export=True))),
        ProcessSpec(files=FileTask(write=FileWrite(path="/etc", owner="1:2", sync=True))),
    ],
)
def test_a_process_arrives_as_it_was_asked_for(spec: ProcessSpec) -> None:
    message = launch_message(LaunchCommand(process_id="p", process=spec))
    arrived = marshal.loads(marshal.dumps(message))
    assert process_of(arrived["process"]) == process_request(spec)


def test_what_surrounds_a_container_comes_with_its_init_alone() -> None:
    surrounding = SandboxOptions(init=True, sysctls={"kernel.x": "1"})
    command = LaunchCommand(process=SPEC, sandbox=surrounding)
    assert launch_message(command).keys().isdisjoint({"limits", "sandbox"})
    command.init = True
    arrived = marshal.loads(marshal.dumps(launch_message(command)))
    sandbox = SandboxRequest(**arrived["sandbox"])
    assert (sandbox.init, sandbox.sysctls) == (True, {"kernel.x": "1"})
    assert arrived["limits"]["pids"] == 0


def test_an_order_to_the_waiting_init_arrives_as_it_was_given() -> None:
    request, sandbox = ProcessRequest(["true"], rlimits=[("core", 1, 2)]), SandboxRequest(True)
    arrived = marshal.loads(marshal.dumps(launch_order(request, sandbox)))
    assert process_of(arrived["process"]) == request
    assert SandboxRequest(**arrived["sandbox"]) == sandbox
