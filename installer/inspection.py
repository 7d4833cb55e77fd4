"""`vic inspect`: what a VCH is made of, wherever it is."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from installer.checks import require_root
from installer.errors import NotRunningError
from installer.instance import check_data_dir, load_instance
from installer.status import read_status


def inspect(data_dir: Path) -> str:
    """Return what is recorded of an instance, and what there is of it, as JSON.

    Raises InstallerError. No secret is shown, and no path of one.
    """
    require_root("inspect")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance")
    options = instance.options
    told: dict[str, Any] = {
        "id": instance.id,
        "name": options.name,
        "driver": options.driver,
        "data_dir": str(data_dir),
        "endpoint": options.host,
        "volume_stores": dict(options.volume_stores),
        "limits_at_creation": dict(options.limits),
    }
    if options.driver == "vsphere":
        from installer.vsphere.verbs import inspect as inspect_vch

        told["vsphere"] = inspect_vch(instance)
    status = asdict(read_status(data_dir))
    told["running"] = status["running"]
    told["processes"] = status["processes"]
    return json.dumps(told, indent=2)
