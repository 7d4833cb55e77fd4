"""Platforms as users write them: Docker's readings and its words for what is none."""

from __future__ import annotations

import pytest

from portlayer.errors import InvalidArgument
from services.storage.platforms import parse_platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        *(("linux/amd64", "linux/amd64"), ("Linux/ARM/v7", "linux/arm/v7")),
        *(("linux/aarch64", "linux/arm64"), ("arm64", "linux/arm64"), ("x86_64", "linux/amd64")),
        *(("linux", "linux/amd64"), ("windows", "windows/amd64")),
    ],
)
def test_what_a_platform_is(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform
    assert parse_platform("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bogus", '"bogus": unknown operating system or architecture: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        (
            "linux/am d64",
            '"am d64" is an invalid platform component of "linux/am d64": platform specifier '
            'component must match "^[A-Za-z0-9_-]+$": invalid argument',
        ),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_platform(text)
    assert refused.value.message == message
