"""Running nft(8): whole transactions from text, and listings as JSON."""

import json
import subprocess
from typing import Any

from portlayer.errors import Unavailable

NFT_SECONDS = 30.0
"""Far more than the milliseconds it takes; a kernel that takes longer is in trouble."""


def apply(text: str) -> None:
    """Run one transaction: all of it takes effect, or nothing. Raises Unavailable."""
    _run(["-f", "-"], text)


def table(family: str, name: str) -> list[dict[str, Any]] | None:
    """Return what is in a table as nft's JSON describes it, or None where there is none.

    Each entry has one key, its kind. Handles are left out, and elements are sorted, so that equal
    tables give equal answers.
    """
    try:
        text = _run(["--json", "--stateless", "list", "table", family, name])
    except Unavailable:
        if (family, name) in tables():
            raise
        return None
    document = json.loads(text)
    entries = [entry for entry in document["nftables"] if "metainfo" not in entry]
    for entry in entries:
        for body in entry.values():
            body.pop("handle", None)
            if "elem" in body:
                body["elem"].sort(key=json.dumps)
    return entries


def tables() -> list[tuple[str, str]]:
    """Return family and name of every table of the host."""
    return [(known["family"], known["name"]) for known in _objects(["list", "tables"], "table")]


def chains() -> list[dict[str, Any]]:
    """Return all chains of the host, as nft's JSON describes them."""
    return _objects(["list", "chains"], "chain")


def chain_rules(family: str, table_name: str, chain: str) -> list[dict[str, Any]]:
    """Return a chain's rules with their handles. Raises Unavailable where there is none."""
    return _objects(["--handle", "list", "chain", family, table_name, chain], "rule")


def all_rules() -> list[dict[str, Any]]:
    """Return all rules of the host with their handles."""
    return _objects(["--handle", "list", "ruleset"], "rule")


def _objects(command: list[str], kind: str) -> list[dict[str, Any]]:
    document = json.loads(_run(["--json", *command]))
    return [entry[kind] for entry in document["nftables"] if kind in entry]


def _run(arguments: list[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=NFT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"nft could not be run: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"nft {arguments[-1]} failed: {done.stderr.strip()[:1000]}")
    return done.stdout
