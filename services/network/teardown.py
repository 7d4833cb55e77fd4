"""Taking an instance's networks off the host: ``python -m services.network.teardown``.

`vic down` runs it as the service's user, when the service has ended. A program of its own starts in
less than half of the service's time: it loads neither database nor server.
"""

import asyncio
import sys

from portlayer.errors import VicError
from portlayer.logs import configure_logs
from services.network.drivers.choice import choose_driver
from services.network.settings import NetworkSettings


async def tear_down(settings: NetworkSettings) -> None:
    """Remove all that the instance has on the host. Needs neither database nor certificate."""
    driver = choose_driver(settings)
    try:
        await driver.teardown()
    finally:
        await driver.close()


def main() -> None:
    """Remove it, with the service's own settings."""
    settings = NetworkSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    try:
        asyncio.run(tear_down(settings))
    except VicError as error:
        sys.exit(f"cannot remove the instance's networks: {error.message}")


if __name__ == "__main__":
    main()
