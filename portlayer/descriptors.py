"""How many files a process may have open."""

import resource


def allow_descriptors(most: int | None = None) -> None:
    """Let this process open as many files as it may at all, or `most` of them.

    Debian starts processes with 1,024, for programs that use select(2); none of ours does. What is
    started later has the same, unless it is given bounds of its own as machines are.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = hard if most is None else most
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
