"""gRPC's threads in the agent are woken together; the one that keeps time for output isn't late."""

import json
import subprocess
import sys

from tether.agent.patience import SLACK_NS

# In a process of its own: gRPC's threads in this one have been started by other tests.
_PROGRAM = """
import asyncio, json, os
from contextlib import suppress
import grpc.aio
from tether.agent.patience import start_threads

async def talk():
    threads = start_threads()
    async with grpc.aio.insecure_channel("127.0.0.1:9"):
        pass  # gRPC's only use, for now
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [channel.unary_unary("/no/Such")(b"") for _ in range(20)]
        await asyncio.gather(*calls, return_exceptions=True)
        own = os.getpid()
        slack = {}
        for thread in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError):  # it has ended meanwhile
                slack[thread] = int(open(f"/proc/{thread}/timerslack_ns").read())
        print(json.dumps([slack.pop(str(own)), list(slack.values())]))
    await server.stop(None)
    await threads.close()

asyncio.run(talk())
"""


def test_all_threads_but_the_loops_own_may_be_woken_late() -> None:
    """Also those that gRPC starts when there is work."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    loop, others = json.loads(done.stdout)
    assert loop < 1_000_000
    assert len(others) >= 3
    assert set(others) == {SLACK_NS}
