"""Records of images and of their names against what they are made of."""

from __future__ import annotations

from portlayer.errors import VicError
from services.storage.checking.findings import Findings, Subject
from services.storage.files import STAGING_PREFIX, remove, replace_file
from services.storage.image_records import (
    CONFIG,
    MANIFEST,
    ImageUse,
    image_of,
    read_image,
    read_use,
    use_record,
)
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest

_BROKEN = (OSError, ValueError, KeyError, TypeError, VicError)


def check_images(store: ImageStore, findings: Findings) -> None:
    """Compare each image's record with its configuration and manifest. Blocks. Raises OSError."""
    for directory in sorted((store.root / "images").iterdir()):
        name = directory.name
        if name.startswith(STAGING_PREFIX):
            continue
        try:
            config = (directory / CONFIG).read_bytes()
            whole = image_of(config, (directory / MANIFEST).read_bytes(), store.tar_size)
            if whole.id.hex != name:
                raise ValueError("the configuration has another digest")
        except _BROKEN as error:
            if not directory.exists():
                continue  # removed meanwhile
            _tell_lost(store, findings, name, str(error))
            continue
        try:
            found = read_image(directory)
        except _BROKEN as error:
            what = f"its record can't be read: {error}"
        else:
            if found.layers == whole.layers and found.manifest_digest == whole.manifest_digest:
                continue
            sizes = {layer.chain_id: layer.size_bytes for layer in found.layers}
            again = image_of(config, (directory / MANIFEST).read_bytes(), sizes.get)
            if found.layers == again.layers and found.manifest_digest == again.manifest_digest:
                continue  # only sizes differ, of layers that aren't there
            what = "its record disagrees with its manifest"

        def rebuild(name: str = name) -> None:
            with store.changing():
                store.catalogue.rebuild(name, store.tar_size)

        findings.mend(Subject.IMAGE, f"sha256:{name}", what, rebuild)


def _tell_lost(store: ImageStore, findings: Findings, name: str, why: str) -> None:
    try:
        names = sorted(read_use(store.catalogue.names_path(name)).tags)
    except _BROKEN:
        names = []
    again = f"pull or load {', '.join(names)} again" if names else "it had no name"
    findings.lost(Subject.IMAGE, f"sha256:{name}", f"{why}; {again}")
    if findings.repair:
        with store.changing():
            remove(store.root / "images" / name)
            store.catalogue.names_path(name).unlink(missing_ok=True)
            store.catalogue.refresh()


def check_names(store: ImageStore, findings: Findings) -> None:
    """See whether names can be read and have an image. Blocks. Raises OSError."""
    for path in sorted(store.catalogue.names_path("").parent.glob("*.json")):
        name = f"sha256:{path.stem}"
        if not (store.root / "images" / path.stem).exists():
            findings.mend(Subject.NAMES, name, "the image is gone", path.unlink)
            continue
        try:
            read_use(path)
        except FileNotFoundError:
            continue
        except _BROKEN as error:

            def forget(name: str = name) -> None:
                with store.changing():
                    image_id = Digest(name)
                    replace_file(
                        store.catalogue.names_path(image_id.hex), use_record(image_id, ImageUse())
                    )

            findings.mend(Subject.NAMES, name, f"can't be read: {error}; it has none now", forget)
