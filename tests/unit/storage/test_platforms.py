"""Platforms as users write them: Docker's readings and its words for what is none."""

from __future__ import annotations

import pytest

from portlayer.errors import InvalidArgument, NotFound, Reason
from services.storage.imagec.manifest import Platform
from services.storage.platforms import check_platform, parse_platform


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


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        (Platform("linux", "amd64"), Platform("linux", "amd64")),
        # What says no variant is for any.
        (Platform("linux", "arm64"), Platform("linux", "arm64", "v8")),
        (Platform("linux", "arm64", "v8"), Platform("linux", "arm64")),
    ],
)
def test_an_image_for_what_is_wanted(has: Platform, wanted: Platform) -> None:
    check_platform("busybox", has, wanted)


@pytest.mark.parametrize(
    "wanted",
    [Platform("linux", "arm64"), Platform("windows", "amd64"), Platform("linux", "amd64", "v3")],
)
def test_an_image_for_something_else_is_not_found(wanted: Platform) -> None:
    with pytest.raises(NotFound) as refused:
        check_platform("busybox", Platform("linux", "amd64", "v2"), wanted)
    assert refused.value.reason is Reason.IMAGE_NOT_FOUND
    assert refused.value.message == (
        "image with reference busybox was found but its platform (linux/amd64/v2) does not match "
        f"the specified platform ({wanted})"
    )
