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


def test_an_upload_that_is_broken_off_makes_no_image(suite: Suite, tmp_path: Path) -> None:
    tar = make_tar([file("made", "here\n")])
    root, archive = tmp_path / "root.tar", tmp_path / "whole.tar"
    root.write_bytes(tar)
    suite.ok("import", str(root), "whole:one")
    suite.ok("save", "--output", str(archive), "whole:one")
    suite.ok("rmi", "whole:one")
    before = suite.ok("images", "--all", "--quiet", "--no-trunc")
    # Each would be an image by itself: all of it has come, but for the word that this was all.
    suite.break_off("/images/load", archive.read_bytes())
    suite.break_off("/images/create?fromSrc=-&repo=half", tar)
    client = suite.popen("load", stdin=subprocess.PIPE)
    assert client.stdin is not None
    client.stdin.write(make_tar([file("blobs/big", bytes(4 << 20))])[: 3 << 20])
    client.stdin.flush()
    client.send_signal(signal.SIGKILL)
    client.wait(60)
    client.stdin.close()
    assert suite.ok("load", "--input", str(archive)).endswith("Loaded image: whole:one")
    suite.ok("rmi", "whole:one")
    assert suite.ok("images", "--all", "--quiet", "--no-trunc") == before
