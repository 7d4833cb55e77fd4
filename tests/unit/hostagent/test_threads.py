"""What blocks the agent's threads."""

import asyncio
import threading

from hostagent.__main__ import have_threads


async def test_machines_whose_files_can_not_be_opened_keep_no_others_waiting() -> None:
    have_threads()
    answer = threading.Event()
    hung = [asyncio.create_task(asyncio.to_thread(answer.wait, 60)) for _ in range(64)]
    try:
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(str, 1) == "1"
        assert not any(task.done() for task in hung)
    finally:
        answer.set()
        await asyncio.gather(*hung)
