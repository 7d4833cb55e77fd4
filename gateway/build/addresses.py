"""URLs in builds: which are ones, what they are called, and what a file from there is called.

Source: moby, builder/remotecontext/urlutil and builder/dockerfile/copy.go.
"""

import base64
import os
import posixpath
import re
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from portlayer.web.addresses import web_address

_GIT_SUFFIX = re.compile(r"\.git(#.+)?\Z")
_GIT_SCHEMES = ("git://", "git@", "ssh://")
_LONGEST_NAME = 255


def is_url(text: str) -> bool:
    """Whether something is fetched by HTTP."""
    return text.startswith(("http://", "https://"))


def is_git(text: str) -> bool:
    """Whether something is a Git repository elsewhere, as far as its name tells."""
    suffixed = is_url(text) and _GIT_SUFFIX.search(text) is not None
    return suffixed or text.startswith(_GIT_SCHEMES)


@dataclass(frozen=True)
class Address:
    """Where to fetch from, apart from who asks."""

    url: str
    """Without credentials."""

    shown: str
    """As it is told: without the password."""

    authorization: str | None = None
    """For its own origin alone."""


def address_of(text: str) -> Address | None:
    """Take a URL apart; None for one that can't be asked."""
    try:
        parts = urlsplit(text)
        user, password = parts.username, parts.password
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=host).geturl()
    if web_address(url) is None:
        return None
    if user is None:
        return Address(url, url)
    secret = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    told = f"{user}:xxxxx@{host}" if password is not None else f"{user}@{host}"
    return Address(
        url,
        parts._replace(netloc=told).geturl(),
        f"Basic {base64.b64encode(secret).decode()}",
    )


def file_name(url: str, disposition: str) -> str:
    """What a file from a URL is called, else by Content-Disposition; empty where nothing says."""
    path = unquote(urlsplit(url).path, errors="surrogateescape")
    name = _last(path) or _last(_disposed(disposition))
    return name if len(os.fsencode(name)) <= _LONGEST_NAME else ""


def _last(path: str) -> str:
    """The last name of a path; empty where no file can be called so."""
    name = posixpath.basename(path)
    try:
        os.fsencode(name)
    except UnicodeError:
        return ""
    return "" if name in (".", "..") or "\0" in name else name


def _disposed(header: str) -> str:
    message = Message()
    message["Content-Disposition"] = header.replace("\r", " ").replace("\n", " ")
    try:
        return message.get_filename("")
    except (ValueError, TypeError):  # of charsets and numbers of parts that are none
        return ""


def last_modified(header: str) -> float:
    """Seconds since the epoch; zero where nothing says when, as with dockerd."""
    try:
        moment = parsedate_to_datetime(header)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(moment.timestamp(), 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
