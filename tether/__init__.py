"""The program inside every container VM, and how its boot image is made.

``tether.supervisor`` is PID 1, ``tether.agent`` its companion that speaks gRPC, ``tether.link``
what connects them. ``tether.guestconfig`` says how the host configures a VM, and
``tether.bootstrap`` builds the image that the VM boots from; the host uses these two.
"""

VERSION = "0.1.0"
