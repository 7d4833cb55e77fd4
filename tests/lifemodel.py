"""What Docker's users know of containers' lives, as a model to hold an engine against.

A state machine of hypothesis does whatever comes to its mind to a few containers; the model says
what must come of it. The engine under test is a `Subject`: our service over fakes, or the endpoint.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

# None of them could be the beginning of an ID, which names what it begins as well.
NAMES = ("lyra", "orion", "vela")
names = st.sampled_from(NAMES)

# Verb, state, and then: the status, and the state after it. What isn't here is a 409 and stays.
TABLE: Mapping[tuple[str, str], tuple[int, str]] = {
    ("start", "created"): (204, "running"),
    ("start", "exited"): (204, "running"),
    ("start", "running"): (304, "running"),
    ("stop", "running"): (204, "exited"),
    ("stop", "paused"): (204, "exited"),
    ("stop", "created"): (304, "created"),
    ("stop", "exited"): (304, "exited"),
    ("restart", "created"): (204, "running"),
    ("restart", "running"): (204, "running"),
    ("restart", "paused"): (204, "running"),
    ("restart", "exited"): (204, "running"),
    ("kill", "running"): (204, "exited"),
    ("kill", "paused"): (204, "exited"),
    ("pause", "running"): (204, "paused"),
    ("unpause", "paused"): (204, "running"),
    ("remove", "created"): (204, ""),
    ("remove", "exited"): (204, ""),
    **{("remove by force", s): (204, "") for s in ("created", "running", "paused", "exited")},
}
VERBS = sorted({verb for verb, _ in TABLE})


class Subject(ABC):
    """An engine."""

    @abstractmethod
    def create(self, name: str) -> int:
        """Make a container whose process goes on until it is ended; returns Docker's status."""

    @abstractmethod
    def do(self, verb: str, name: str) -> int:
        """Carry a verb out; returns Docker's status."""

    @abstractmethod
    def rename(self, name: str, new_name: str) -> int:
        """Give a container another name; returns Docker's status."""

    @abstractmethod
    def states(self) -> Mapping[str, str]:
        """Return the state of each container by its name."""

    @abstractmethod
    def crash(self) -> None:
        """Kill the engine, and wait until it serves again."""

    def end(self, name: str) -> None:
        """Let the process of a container that runs end by itself."""
        raise NotImplementedError

    @abstractmethod
    def check(self) -> None:
        """Check whatever else must hold."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything."""


class Lives(RuleBasedStateMachine):
    """The model. A subclass says what it is held against."""

    can_end = False
    can_crash = False

    def __init__(self) -> None:
        super().__init__()
        self.subject = self.open()
        self.model: dict[str, str] = {}

    def open(self) -> Subject:
        """Return an engine without containers."""
        raise NotImplementedError

    @rule(name=names)
    def create(self, name: str) -> None:
        wanted = 409 if name in self.model else 201
        assert self.subject.create(name) == wanted
        self.model.setdefault(name, "created")

    @rule(verb=st.sampled_from(VERBS), name=names)
    def do(self, verb: str, name: str) -> None:
        state = self.model.get(name)
        if state is None:
            assert self.subject.do(verb, name) == 404
            return
        status, after = TABLE.get((verb, state), (409, state))
        assert self.subject.do(verb, name) == status, (verb, state)
        if after:
            self.model[name] = after
        else:
            del self.model[name]

    @rule(name=names, new_name=names)
    def rename(self, name: str, new_name: str) -> None:
        status = self.subject.rename(name, new_name)
        if name not in self.model:
            assert status == 404
        elif name == new_name:
            assert status == 400
        elif new_name in self.model:
            assert status == 409
        else:
            assert status == 204
            self.model[new_name] = self.model.pop(name)

    @precondition(lambda self: self.can_end and "running" in self.model.values())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        running = sorted(name for name, state in self.model.items() if state == "running")
        name = data.draw(st.sampled_from(running))
        self.subject.end(name)
        self.model[name] = "exited"

    @precondition(lambda self: self.can_crash)
    @rule()
    def crash(self) -> None:
        self.subject.crash()

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        """What the engine says is what must be."""
        assert dict(self.subject.states()) == self.model
        self.subject.check()

    def teardown(self) -> None:
        """Leave nothing."""
        self.subject.close()
