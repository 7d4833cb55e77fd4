"""The last step before a service runs: give up everything that it doesn't need.

Run as ``python -m installer.spawn PLAN COMMAND…`` by the watcher, as root. PLAN is JSON (a
`SpawnPlan`). The process moves into its own view of the file system where it needs one and then
becomes setpriv(1) of util-linux, which drops user, groups, capabilities and the right to gain new
ones, and becomes the service.
"""

import json
import os
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from installer.roles import IMAGE_STORES
from installer.view import Window, open_windows

SETPRIV = "/usr/bin/setpriv"
DESCRIPTORS = 65_536


@dataclass(frozen=True)
class SpawnPlan:
    """Who a process becomes."""

    uid: int
    """User ID; the primary group has the same number."""
    group: int
    """A supplementary group: the suite's."""
    capabilities: tuple[str, ...]
    windows: tuple[Window, ...]
    shares_images: bool = False
    """Whether it belongs to the group of who shares image stores as well."""

    def to_json(self) -> str:
        """Return the plan as one argument."""
        fields = asdict(self)
        fields["windows"] = [
            {"closed": str(window.closed), "shown": [str(path) for path in window.shown]}
            for window in self.windows
        ]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "SpawnPlan":
        """Read a plan. Raises ValueError, KeyError or TypeError when it is none."""
        fields = json.loads(text)
        fields["capabilities"] = tuple(fields["capabilities"])
        fields["windows"] = tuple(
            Window(Path(entry["closed"]), tuple(Path(path) for path in entry["shown"]))
            for entry in fields["windows"]
        )
        return cls(**fields)

    def setpriv(self) -> list[str]:
        """Return the setpriv command that carries the plan out."""
        groups = [self.group, *([IMAGE_STORES] if self.shares_images else [])]
        kept = ",".join(["-all", *(f"+{name}" for name in self.capabilities)])
        return [
            SETPRIV,
            f"--reuid={self.uid}",
            f"--regid={self.uid}",
            "--groups=" + ",".join(map(str, groups)),
            f"--inh-caps={kept}",
            f"--ambient-caps={kept}",
            f"--bounding-set={kept}",
            "--no-new-privs",
            # Its parent, the watcher, is what keeps it: without one it ends. (setpriv sets this
            # after the change of user, which would clear it.)
            "--pdeathsig=TERM",
            "--",
        ]


def spawn_command(plan: SpawnPlan, command: list[str]) -> list[str]:
    """Return the command that runs `command` as the plan says."""
    return [sys.executable, "-m", "installer.spawn", plan.to_json(), *command]


def main(arguments: list[str]) -> None:
    """Carry out the plan in the first argument and become the command in the others."""
    plan = SpawnPlan.from_json(arguments[0])
    if plan.windows:
        open_windows(plan.windows)
    os.umask(0o077)
    os.chdir("/")
    # Who was started where 1,024 are allowed could not hold a thousand published ports; a service
    # takes of this what it needs.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        # Root without CAP_SYS_RESOURCE, as in many a container, may not.
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, DESCRIPTORS))
    command = plan.setpriv()
    os.execv(command[0], [*command, *arguments[1:]])  # noqa: S606 - becomes the service


if __name__ == "__main__":
    main(sys.argv[1:])
