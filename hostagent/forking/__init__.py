"""Forks a QEMU that stands still, so that a clone inherits the code that its template translated.

QEMU's threads, memory and descriptors are no secret to the kernel: this package stops a template
with ptrace(2), has its main thread fork, gives the child what it must not share with the template
and takes the template's powers from it (:mod:`.powers`), and starts its other threads where the
template's stand (:mod:`.original`). That runs in a process of its own (:mod:`.server`), one for
each template, and the agent talks to it (:mod:`.forker`). Only x86-64, and only software emulation:
what KVM knows of a machine belongs to one process for ever.
"""
