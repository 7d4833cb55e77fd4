"""PID 1 of a container VM: mounts, launches, reaps, and knows exit codes.

Small and single-threaded, and never imports gRPC: it forks, which a process with gRPC's threads
can't do safely, and each page of it that a clone touches is private memory of that clone.
"""
