"""`docker stats` and `docker top` of a real container."""

import json

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")


def test_use_and_processes_of_a_busy_container(suite: Suite, image: str) -> None:
    script = "while :; do :; done"
    suite.ok("run", "-d", "--name", "busy", "-m", "64m", image, "sh", "-c", script)
    suite.ok("create", "--name", "idle", image, "true")

    listed = suite.ok("stats", "--no-stream", "--all", "--format", "json").splitlines()
    told = {one["Name"]: one for one in map(json.loads, listed)}
    busy = told["busy"]
    assert 0 < float(busy["CPUPerc"].rstrip("%")) < 150
    used, limit = busy["MemUsage"].split(" / ")
    assert used.endswith("iB")
    assert used != "0B"
    assert limit == "64MiB"
    assert busy["PIDs"] == "1"
    assert told["idle"]["CPUPerc"] == "0.00%"

    # One entry for each NIC, as they come and go.
    suite.ok("network", "create", "second")
    try:
        suite.ok("network", "connect", "second", "busy")
        status, sample = suite.api("GET", "/containers/busy/stats?stream=false&one-shot=true")
        assert (status, set(sample["networks"])) == (200, {"eth0", "eth1"})
        suite.ok("network", "disconnect", "second", "busy")
    finally:
        suite.ok("network", "rm", "second")

    # As its host measures it: QEMU's own work is part of it, and what a guest waits for.
    usage = json.loads(suite.vic("usage", "--json").stdout)
    (measured,) = [one for one in usage["containers"] if one["name"] == "busy"]
    assert 0 < measured["cpus_used"] < 16
    assert measured["cpus_waited_for"] >= 0
    assert 1 << 20 < measured["memory_bytes"] < 512 << 20
    assert {"disk_read_bytes_per_second", "sent_bytes_per_second"} <= measured.keys()

    titles, row = suite.ok("top", "busy").splitlines()
    assert titles.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert row.split()[0] == "root"
    assert row.endswith(script)
    assert suite.ok("top", "busy", "-o", "pid,comm").split()[2:] == [row.split()[1], "sh"]
    refused = suite.docker("top", "busy", "--nope")
    assert (refused.returncode, "unknown option --nope" in refused.stderr) == (1, True)
    assert "is not running" in suite.docker("top", "idle").stderr
