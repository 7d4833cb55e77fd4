"""How long the host agent and QEMU are waited for, on a host that has much else to do.

The end of either is seen at once. What is bounded here is work whose end is not: on a host on which
it takes this long, starting it again would take no less.
"""

LAUNCH_SECONDS = 180.0
"""A launch; more than the bounds of the agent's steps together, so that it is the agent that says
what took too long, and nobody asks for another machine while it is still at work on this one."""
LOAD_SECONDS = 180.0
"""A clone's device state: some 20 ms of processor time, after some 50 of QEMU's own start."""
