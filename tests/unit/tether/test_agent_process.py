"""The environment that the agent is started with."""

from tether.supervisor.agentprocess import agent_environment

ARGUMENTS = b"console=ttyS0 quiet panic=-1"


def test_only_an_emulated_agent_does_without_vector_instructions() -> None:
    own = agent_environment(ARGUMENTS + b"\n")
    assert "OPENSSL_ia32cap" not in own
    told = agent_environment(ARGUMENTS + b" mitigations=off vic.emulated\n")
    assert told == own | {"OPENSSL_ia32cap": "~0x8020000000000:~0x20"}


def test_a_word_that_only_begins_so_means_no_emulator() -> None:
    assert "OPENSSL_ia32cap" not in agent_environment(ARGUMENTS + b" vic.emulatedx")
