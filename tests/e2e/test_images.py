"""`docker pull`, `images`, `inspect`, `rmi`."""

import json
import re

import pytest

from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image, multi_layer_image, whiteout_image

pytestmark = pytest.mark.usefixtures("containers")

LAYERS_OF_NO_OTHER_TEST = 6


def test_a_pull_shows_its_progress_and_its_end(suite: Suite, registry: Registry) -> None:
    # Of one that is there already by another name, nothing of its layers is told.
    image = multi_layer_image(LAYERS_OF_NO_OTHER_TEST)
    reference = registry.push(image, "progress")
    lines = suite.ok("pull", reference).splitlines()
    assert lines[0] == "latest: Pulling from progress"
    *lower, top = (layer.digest.removeprefix("sha256:")[:12] for layer in image.layers)
    for short in lower:
        assert {f"{short}: Pull complete", f"{short}: Already exists"} & {*lines}
    assert f"{top}: Pull complete" in lines
    assert f"Digest: {image.digest}" in lines
    assert f"Status: Downloaded newer image for {reference}" in lines
    assert lines[-1] == reference


def test_progress_comes_as_the_bytes_do(suite: Suite, registry: Registry) -> None:
    reference = registry.push(whiteout_image(), "bars")
    name, _, tag = reference.rpartition(":")
    status, stream = suite.api_lines("POST", f"/images/create?fromImage={name}&tag={tag}")
    assert status == 200
    events = [json.loads(line) for line in stream]
    bars = [event for event in events if event.get("status") == "Downloading"]
    assert all({"current", "total"} <= event["progressDetail"].keys() for event in bars)
    assert all(event["progress"].startswith("[") for event in bars)


def test_all_tags_of_a_repository_are_pulled(suite: Suite, registry: Registry) -> None:
    for tag in ("a", "b"):
        name = registry.push(multi_layer_image(2), "all-tags", tag).rpartition(":")[0]
    lines = suite.ok("pull", "--all-tags", name).splitlines()
    assert {f"{tag}: Pulling from all-tags" for tag in "ab"} <= {*lines}
    assert lines[-2] == f"Status: Downloaded newer image for {name}"
    assert len([line for line in lines if line.startswith("Status: ")]) == 1
    suite.ok("rmi", f"{name}:a", f"{name}:b")


def test_a_pull_again_finds_it_up_to_date(suite: Suite, image: str) -> None:
    assert f"Status: Image is up to date for {image}" in suite.ok("pull", image)


def test_an_image_is_listed_and_inspected(suite: Suite, image: str) -> None:
    name, _, tag = image.rpartition(":")
    listed = suite.ok("images", "--format", "{{.Repository}} {{.Tag}}").splitlines()
    assert f"{name} {tag}" in listed
    found = suite.inspect(image)
    expected = busybox_image()
    assert found["Id"] == expected.id
    assert found["RepoTags"] == [image]
    assert found["RepoDigests"] == [f"{name}@{expected.digest}"]
    assert found["RootFS"]["Layers"] == [layer.diff_id for layer in expected.layers]
    assert (found["Os"], found["Architecture"]) == ("linux", "amd64")
    assert found["Config"]["Cmd"] == ["sh"]


def test_tags_are_given_filtered_by_and_taken_away(suite: Suite, image: str) -> None:
    suite.ok("tag", image, "mine/tagged")
    suite.ok("tag", suite.inspect(image)["Id"][7:19], "mine/tagged:two")
    listed = suite.ok("images", "--filter", "reference=mine/*", "--format", "{{.Tag}}")
    assert sorted(listed.splitlines()) == ["latest", "two"]
    assert suite.ok("images", "--quiet", "--filter", f"since={image}", "mine/tagged") == ""
    suite.refused("tag", "nosuch", "x", code=1, message="o such image")
    suite.refused("tag", image, "Upper", code=1, message="invalid reference format")
    assert suite.ok("rmi", "mine/tagged", "mine/tagged:two").splitlines() == [
        "Untagged: mine/tagged:latest",
        "Untagged: mine/tagged:two",
    ]


def test_history_tells_what_made_an_image(suite: Suite, image: str) -> None:
    form = "{{.ID}} {{.CreatedBy}}"
    (line,) = suite.ok("history", "--no-trunc", "--format", form, image).splitlines()
    assert line == f"{busybox_image().id} layer 0"


def test_the_use_of_the_disk_is_told(suite: Suite, image: str) -> None:
    container = suite.ok("create", "--name", "takes-space", image)
    told = json.loads(suite.ok("system", "df", "--verbose", "--format", "{{json .}}"))
    name, _, tag = image.rpartition(":")
    (entry,) = [i for i in told["Images"] if (i["Repository"], i["Tag"]) == (name, tag)]
    assert entry["Containers"] == "1"
    names = [c["Names"] for c in told["Containers"] if c["ID"].startswith(container[:12])]
    assert names == ["takes-space"]
    listed = suite.ok("ps", "--all", "--size", "--no-trunc", "--format", "{{.ID}} {{.Size}}")
    (size,) = [line for line in listed.splitlines() if line.startswith(container)]
    assert re.fullmatch(r"\w+ [\d.]+k?B \(virtual [\d.]+MB\)", size)
    assert suite.ok("system", "df").splitlines()[1].startswith("Images")


def test_pull_after_rmi_gives_the_same_image(suite: Suite, registry: Registry) -> None:
    reference = registry.push(multi_layer_image(3), "comes-back")
    suite.ok("pull", reference)
    first = suite.inspect(reference)
    told = suite.ok("rmi", reference)
    assert f"Untagged: {reference}" in told
    assert f"Deleted: {first['Id']}" in told
    suite.refused("inspect", "--type", "image", reference, code=1, message="o such image")
    suite.ok("pull", reference)
    again = suite.inspect(reference)
    assert (again["Id"], again["Size"]) == (first["Id"], first["Size"])


def test_an_image_in_use_is_not_removed(suite: Suite, registry: Registry) -> None:
    reference = registry.push(multi_layer_image(2), "in-use")
    suite.ok("pull", reference)
    container = suite.ok("create", reference)
    suite.refused("rmi", reference, code=1, message="conflict: unable to remove")
    suite.ok("rm", container)
    suite.ok("rmi", reference)


def test_short_and_long_ids_and_digests_name_an_image(suite: Suite, image: str) -> None:
    long = suite.inspect(image)["Id"]
    for reference in (long, long.removeprefix("sha256:"), long[7:19], image.split(":latest")[0]):
        assert suite.inspect(reference)["Id"] == long
    digest = suite.inspect(image)["RepoDigests"][0]
    assert suite.inspect(digest)["Id"] == long


def test_layers_are_what_the_image_says(suite: Suite, registry: Registry) -> None:
    reference = registry.push(whiteout_image(), "whiteouts")
    suite.ok("pull", reference)
    script = "cd /data && find . | sort && cat keep reborn opaque/after swapped && readlink link"
    told = suite.ok("run", "--rm", reference, "sh", "-c", script).splitlines()
    assert told == [
        ".",
        "./keep",
        "./link",
        "./opaque",
        "./opaque/after",
        "./reborn",
        "./swapped",
        "keep",
        "new",
        "after",
        "a file now",
        "keep",
    ]


def test_a_push_gives_the_registry_what_was_pulled(
    suite: Suite, registry: Registry, image: str
) -> None:
    target = f"{registry.address}/pushed/here"
    suite.ok("tag", image, f"{target}:one")
    suite.ok("tag", image, f"{target}:two")
    lines = suite.ok("push", f"{target}:one").splitlines()
    expected = busybox_image()
    assert lines[0] == f"The push refers to repository [{target}]"
    assert lines[-1] == f"one: digest: {expected.digest} size: {len(expected.manifest_bytes)}"
    short = expected.layers[0].diff_id[7:19]
    assert any(line.startswith(f"{short}: Mounted from ") for line in lines)
    again = suite.ok("push", "--all-tags", target).splitlines()
    assert f"{short}: Layer already exists" in again
    assert [line.split(":")[0] for line in again if "digest: " in line] == ["one", "two"]
    assert f"{target}@{expected.digest}" in suite.inspect(image)["RepoDigests"]
    suite.ok("rmi", f"{target}:one", f"{target}:two")
    suite.ok("pull", f"{target}:two")
    assert suite.inspect(f"{target}:two")["Id"] == expected.id
    suite.ok("rmi", f"{target}:two")


def test_what_cannot_be_pushed_is_told(suite: Suite, registry: Registry) -> None:
    target = f"{registry.address}/not/here"
    message = f"An image does not exist locally with the tag: {target}"
    suite.refused("push", target, code=1, message=message)
