"""Manifests, indexes and configurations as registries send them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.imagec.config import parse_config
from services.storage.imagec.digest import Digest, chain_ids
from services.storage.imagec.errors import InvalidManifest
from services.storage.imagec.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    Platform,
    parse_manifest,
)
from tests.images import busybox_image, multi_layer_image

GOOD: dict[str, Any] = json.loads(busybox_image(flavour="oci").manifest_bytes)
CONFIG: dict[str, Any] = json.loads(busybox_image().config_bytes)


def parse(value: Any, content_type: str = OCI_MANIFEST) -> Manifest | Index:
    return parse_manifest(json.dumps(value).encode(), content_type)


def test_both_kinds_of_manifest_are_read() -> None:
    for image in (busybox_image(flavour="oci"), busybox_image(flavour="docker")):
        manifest = parse_manifest(image.manifest_bytes, image.media_type)
        assert isinstance(manifest, Manifest)
        assert manifest.config.digest == image.id
        assert [layer.digest for layer in manifest.layers] == [image.layers[0].digest]


def test_chain_ids_follow_the_specification() -> None:
    image = multi_layer_image(4)
    assert chain_ids([Digest(layer.diff_id) for layer in image.layers]) == list(image.chain_ids)


def test_cve_2021_41190_a_manifest_that_is_an_index_too_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="both"):
        parse({**GOOD, "manifests": []})
    with pytest.raises(InvalidManifest, match="both"):
        parse({**GOOD, "manifests": [], "mediaType": OCI_INDEX}, OCI_INDEX)


def test_a_media_type_that_disagrees_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="the registry says"):
        parse(GOOD, DOCKER_MANIFEST)
    with pytest.raises(InvalidManifest, match="mediaType is missing"):
        parse({k: v for k, v in GOOD.items() if k != "mediaType"}, DOCKER_MANIFEST)
    with pytest.raises(InvalidManifest, match="unsupported manifest media type"):
        parse(GOOD, "text/html")


def test_an_oci_manifest_needs_no_media_type_of_its_own() -> None:
    parse({k: v for k, v in GOOD.items() if k != "mediaType"})
    parse(GOOD, "application/json; charset=utf-8")


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


def layer(**fields: Any) -> dict[str, Any]:
    return changed(layers=[{**GOOD["layers"][0], **fields}])


@pytest.mark.parametrize(
    "value",
    [
        changed(schemaVersion=1),
        changed(schemaVersion="2"),
        changed(config=None),
        changed(layers={}),
        changed(layers=[None]),
        changed(layers=[GOOD["layers"][0]] * 251),
        changed(fsLayers=[]),
        changed(config={**GOOD["config"], "mediaType": "application/vnd.helm.config.v1+json"}),
        changed(config={**GOOD["config"], "size": 9 << 20}),
        layer(digest="sha256:../../../../etc/passwd"),
        layer(digest="sha256:" + "A" * 64),
        layer(digest="md5:d41d8cd98f00b204e9800998ecf8427e"),
        layer(digest=5),
        layer(size=-1),
        layer(size=True),
        layer(size=1 << 41),
        layer(size="12"),
        layer(mediaType="application/octet-stream"),
    ],
)
def test_cve_2024_3727_what_breaks_the_specification_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest):
        parse(value)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"nul", b"{", b"[" * 100_000, b'{"a":1,"a":2}', b"\xff\xfe", b" " * 5_000_000],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidManifest):
        parse_manifest(body, OCI_MANIFEST)


@given(st.binary(max_size=200))
def test_no_body_ends_in_another_error(body: bytes) -> None:
    for parser in (lambda: parse_manifest(body, OCI_MANIFEST), lambda: parse_config(body)):
        with pytest.raises(InvalidManifest):
            parser()


def entry(os: str, architecture: str, variant: str = "", digit: str = "a") -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture}
    return {
        "mediaType": DOCKER_MANIFEST,
        "digest": "sha256:" + digit * 64,
        "size": 100,
        "platform": platform | ({"variant": variant} if variant else {}),
    }


def test_an_index_is_chosen_from_by_platform() -> None:
    entries = [
        entry("unknown", "unknown", digit="0"),
        entry("windows", "amd64", digit="1"),
        entry("linux", "amd64", "v3", digit="2"),
        entry("linux", "amd64", digit="3"),
        entry("linux", "arm64", "v8", digit="4"),
    ]
    index = parse({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}, DOCKER_LIST)
    assert isinstance(index, Index)
    assert index.choose(Platform("linux", "amd64")).digest.hex[0] == "3"
    assert index.choose(Platform("linux", "amd64", "v3")).digest.hex[0] == "2"
    assert index.choose(Platform("linux", "arm64")).digest.hex[0] == "4"
    with pytest.raises(InvalidManifest) as refused:
        index.choose(Platform("linux", "s390x"))
    assert str(refused.value) == "no matching manifest for linux/s390x in the manifest list entries"


def test_a_configuration_tells_what_containers_get() -> None:
    config = parse_config(
        json.dumps(
            {
                **CONFIG,
                "author": "somebody",
                "config": {
                    "Env": ["A=b"],
                    "Cmd": ["sh"],
                    "Entrypoint": None,
                    "User": "1:2",
                    "WorkingDir": "/w",
                    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                    "Volumes": {"/data": {}},
                    "Labels": {"k": "v"},
                    "StopSignal": "SIGINT",
                    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000},
                },
            }
        ).encode()
    )
    defaults = config.defaults
    assert (defaults.env, defaults.command, defaults.entrypoint) == (("A=b",), ("sh",), ())
    assert defaults.exposed_ports == ("53/udp", "80/tcp")
    assert (defaults.volumes, defaults.labels) == (("/data",), {"k": "v"})
    assert defaults.health_check is not None
    assert defaults.health_check.interval == 5_000_000_000
    assert config.author == "somebody"
    assert config.created is not None
    assert config.created.year == 2020


@pytest.mark.parametrize(
    "fields",
    [
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}},
        {"rootfs": {"type": "other", "diff_ids": []}},
        {"rootfs": None},
        {"config": []},
        {"config": {"Env": "A=b"}},
        {"config": {"Env": [1]}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"ExposedPorts": ["80"]}},
        {"history": {}},
        {"created": "yesterday"},
        {"created": 5},
        {"os": 1},
    ],
)
def test_a_configuration_of_the_wrong_shape_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest):
        parse_config(json.dumps({**CONFIG, **fields}).encode())
