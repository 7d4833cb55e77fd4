"""`docker save`, `load` and `import`, in a VM at the end."""

import signal
import subprocess
from pathlib import Path

from tests.e2e.suite import Suite
from tests.images import Registry, busybox_entries, file, make_tar, multi_layer_image


def test_saved_images_are_loaded_again_unchanged(
    suite: Suite, registry: Registry, tmp_path: Path
) -> None:
    image = multi_layer_image(3)
    reference = registry.push(image, "saved")
    suite.ok("pull", reference)
    suite.ok("tag", reference, "saved/second:name")
    archive = str(tmp_path / "saved.tar")
    suite.ok("save", "--output", archive, reference, "saved/second:name")
    before = suite.inspect(reference)
    suite.ok("rmi", reference, "saved/second:name")
    told = suite.ok("load", "--input", archive).splitlines()
    assert told[-2:] == [f"Loaded image: {reference}", "Loaded image: saved/second:name"]
    after = suite.inspect("saved/second:name")
    assert (after["Id"], after["RootFS"]) == (before["Id"], before["RootFS"])
    suite.refused("save", "--output", archive, "no/such", code=1, message="o such image")
    (tmp_path / "bad.tar").write_bytes(b"nonsense" * 1000)
    suite.refused("load", "--input", str(tmp_path / "bad.tar"), code=1, message="tar")
    suite.ok("rmi", reference, "saved/second:name")


def test_an_imported_root_file_system_runs(suite: Suite, tmp_path: Path) -> None:
    tar = tmp_path / "root.tar"
    tar.write_bytes(make_tar([*busybox_entries(), file("made", "here\n")]))
    change = 'CMD ["cat", "/made"]'
    told = suite.ok("import", "--change", change, "--message", "why", str(tar), "imported:one")
    assert told.startswith("sha256:")
    assert suite.inspect("imported:one")["Comment"] == "why"
    assert suite.ok("run", "--rm", "imported:one") == "here"
    suite.refused(
        "import", "--change", "FROM x", str(tar), code=1, message="FROM is not a valid change"
    )
    suite.ok("rmi", "imported:one")


def test_a_load_whose_client_is_killed_leaves_the_endpoint_well(
    suite: Suite, tmp_path: Path
) -> None:
    before = suite.ok("images", "--quiet", "--no-trunc")
    client = suite.popen("load", stdin=subprocess.PIPE)
    assert client.stdin is not None
    client.stdin.write(make_tar([file("blobs/big", bytes(4 << 20))])[: 3 << 20])
    client.stdin.flush()
    client.send_signal(signal.SIGKILL)
    client.wait(60)
    client.stdin.close()
    assert suite.ok("images", "--quiet", "--no-trunc") == before
