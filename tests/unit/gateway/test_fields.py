"""Null in Docker's JSON is what Go makes of it: the empty value."""

from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.fields import Fields
from gateway.translate.create import read_create_request
from gateway.translate.plans import read_network
from gateway.translate.volumes import read_volume


def test_null_is_an_empty_string_in_arrays_and_objects() -> None:
    given: dict[str, Any] = {"A": ["x", None], "B": [None], "C": {"a": None, "b": "c"}}
    fields = Fields(given)
    assert fields.texts("A") == ["x", ""]
    assert fields.optional_texts("B") == [""]
    assert fields.text_mapping("C") == {"a": "", "b": "c"}
    mistyped: list[Any] = [[1], [{}], {"a": 1}, {"a": []}]
    for wrong in mistyped:
        with pytest.raises(ApiError, match="must"):
            _ = Fields({"A": wrong}).texts("A"), Fields({"A": wrong}).text_mapping("A")


def test_labels_and_options_without_a_value() -> None:
    """As docker-py sends ``labels={"a": None}`` and ``driver_opts={"x": None}``."""
    spec = read_create_request({"Image": "busybox", "Labels": {"a": None}}, "", "", (1, 51))
    assert dict(spec.labels) == {"a": ""}
    assert dict(read_volume({"Name": "v", "DriverOpts": {"x": None}}).options) == {"x": ""}
    assert dict(read_network({"Name": "n", "Labels": {"a": None}}).labels) == {"a": ""}
