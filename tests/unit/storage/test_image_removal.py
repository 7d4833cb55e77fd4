"""Images that go: by their names, by force, by a prune, with those that were made of them."""

from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import patch

import pytest

from services.storage.catalogue import Catalogue
from services.storage.image_records import ImageUse, StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.pruning import LabelRule, Pruning
from services.storage.removal import Deleted, ImageHasReferences, ImageInUse, Removed, Untagged
from tests.unit.storage.conftest import BASE_SIZE, Storage
from tests.unit.storage.test_images import CONTAINER, ONE, TWO, container, host

__all__ = ["host"]


async def test_the_last_name_takes_the_image_with_it(storage: Storage, host: str) -> None:
    removed = await storage.removal.remove(f"{host}/x", force=False)
    assert removed == [
        Untagged(f"{host}/x:latest"),
        Untagged(f"{host}/x@{ONE.digest}"),
        Deleted(ONE.id),
        Deleted(ONE.chain_ids[1]),
    ]
    assert len(storage.store.layers.all()) == 2
    assert storage.images.find(f"{host}/y").id == TWO.id
    await storage.removal.remove(TWO.id, force=False)
    assert storage.files() == []


async def test_a_further_name_only_goes(storage: Storage, host: str) -> None:
    await storage.images.tag(f"{host}/x", "mine")
    assert await storage.removal.remove("mine", force=False) == [Untagged("mine:latest")]
    assert storage.images.find(f"{host}/x").id == ONE.id


async def test_an_id_with_several_names_needs_force(storage: Storage, host: str) -> None:
    await storage.images.tag(f"{host}/x", "mine")
    with pytest.raises(ImageHasReferences) as refused:
        await storage.removal.remove(ONE.id[7:19], force=False)
    assert refused.value.message == (
        f"conflict: unable to delete {ONE.id[7:19]} (must be forced) - "
        "image is referenced in multiple repositories"
    )
    removed = await storage.removal.remove(ONE.id, force=True)
    assert Untagged("mine:latest") in removed
    assert Deleted(ONE.id) in removed


async def test_an_image_in_use_is_kept(storage: Storage, host: str) -> None:
    await container(storage, f"{host}/x")
    with pytest.raises(ImageInUse) as refused:
        await storage.removal.remove(f"{host}/x", force=False)
    assert refused.value.message == (
        f'conflict: unable to remove repository reference "{host}/x" (must force) - '
        f"container {CONTAINER[:12]} is using its referenced image {ONE.id[7:19]}"
    )
    with pytest.raises(ImageInUse, match=r"must be forced.*used by stopped container"):
        await storage.removal.remove(ONE.id, force=False)


async def test_an_image_of_a_running_container_is_not_removed_by_its_id(
    storage: Storage, host: str
) -> None:
    await container(storage, f"{host}/x")
    for force in (False, True):
        with pytest.raises(ImageInUse) as refused:
            await storage.removal.remove(ONE.id, force=force, running=[CONTAINER])
        assert refused.value.message == (
            f"conflict: unable to delete {ONE.id[7:19]} (cannot be forced) - "
            f"image is being used by running container {CONTAINER[:12]}"
        )
    # By its name, only that goes, as with dockerd.
    removed = await storage.removal.remove(f"{host}/x", force=True, running=[CONTAINER])
    assert all(isinstance(line, Untagged) for line in removed)
    assert storage.images.find(ONE.id).id == ONE.id
    assert Deleted(ONE.id) in await storage.removal.remove(ONE.id, force=True, running=["other"])


async def test_force_keeps_the_layers_that_a_container_stands_on(
    storage: Storage, host: str
) -> None:
    await container(storage, f"{host}/x")
    removed = await storage.removal.remove(f"{host}/x", force=True)
    assert Deleted(ONE.id) in removed
    assert Deleted(ONE.chain_ids[1]) not in removed
    assert len((await storage.disks.get(CONTAINER)).chain) == 4
    await storage.removal.remove(f"{host}/y", force=False)
    await storage.disks.remove(storage.store, CONTAINER)
    assert storage.files() == []


async def test_a_layer_goes_only_when_no_owner_uses_it(storage: Storage, host: str) -> None:
    def open_as(owner: str) -> ImageStore:
        return ImageStore(storage.root / "images", owner=owner, base_size=BASE_SIZE)

    other = open_as("11111111")
    stored = other.catalogue.stored(Digest(ONE.id))
    assert stored is not None
    assert other.catalogue.all() == []
    await other.rename(stored.id, lambda use: use)
    await storage.removal.remove(f"{host}/x", force=False)
    assert open_as("11111111").complete(stored)
    another = open_as("11111111")
    await another.delete(stored, another.catalogue.use(stored.id))
    assert not open_as("11111111").complete(stored)


async def test_a_prune_takes_what_has_no_tag_and_no_container(storage: Storage, host: str) -> None:
    prune = Pruning(storage.store, storage.removal).prune
    nothing = await prune(everything=False, until=None, rules=[])
    assert (nothing.removed, nothing.reclaimed_bytes) == ([], 0)
    await storage.removal.remove(f"{host}/x:latest", force=False)
    await storage.pull(f"{host}/x@{ONE.digest}")
    dangling = await prune(everything=False, until=None, rules=[])
    assert dangling.removed == [
        Untagged(f"{host}/x@{ONE.digest}"),
        Deleted(ONE.id),
        Deleted(ONE.chain_ids[1]),
    ]
    assert dangling.reclaimed_bytes == len(ONE.layers[1].tar)
    await container(storage, f"{host}/y")
    assert (await prune(everything=True, until=None, rules=[])).removed == []
    await storage.disks.remove(storage.store, CONTAINER)
    early = datetime(2019, 1, 1, tzinfo=UTC)
    assert (await prune(everything=True, until=early, rules=[])).removed == []
    assert (await prune(everything=True, until=None, rules=[LabelRule.parse("a")])).removed == []
    rules = [LabelRule.parse("!a=b")]
    every = await prune(everything=True, until=datetime.now(UTC), rules=rules)
    assert Deleted(TWO.id) in every.removed
    assert every.reclaimed_bytes == sum(len(layer.tar) for layer in TWO.layers)
    assert storage.files() == []


async def test_a_prune_leaves_what_is_tagged_meanwhile(storage: Storage, host: str) -> None:
    for name, image in (("x", ONE), ("y", TWO)):
        await storage.removal.remove(f"{host}/{name}:latest", force=False)
        await storage.pull(f"{host}/{name}@{image.digest}")
    discard = storage.removal.discard

    async def tag_and_discard(image: StoredImage, use: ImageUse) -> list[Removed]:
        await storage.images.tag(image.id, "kept:latest")
        return await discard(image, use)

    with patch.object(storage.removal, "discard", tag_and_discard):
        pruned = await Pruning(storage.store, storage.removal).prune(
            everything=False, until=None, rules=[]
        )
    assert pruned.removed == []
    assert storage.images.find("kept:latest")


@pytest.mark.parametrize(
    ("rule", "labels", "holds"),
    [
        ("a", {"a": ""}, True),
        ("a", {"b": ""}, False),
        ("a=", {"a": "x"}, False),
        ("a=x=y", {"a": "x=y"}, True),
        ("!a", {"a": ""}, False),
        ("!a=x", {"a": "y"}, True),
    ],
)
def test_rules_about_labels(rule: str, labels: dict[str, str], holds: bool) -> None:
    assert LabelRule.parse(rule).holds(labels) == holds


async def made_of(storage: Storage, child: str, parent: str) -> None:
    """Have an image as if it was committed from a container of another one."""
    await storage.store.rename(Digest(child), lambda use: replace(use, parent=Digest(parent)))


async def test_an_image_that_another_was_made_of_stays_as_long_as_that(
    storage: Storage, host: str
) -> None:
    await made_of(storage, TWO.id, ONE.id)
    with pytest.raises(ImageInUse) as refused:
        await storage.removal.remove(ONE.id, force=True)
    assert refused.value.message.endswith("(cannot be forced) - image has dependent child images")
    removed = await storage.removal.remove(f"{host}/x", force=False)
    assert not [line for line in removed if isinstance(line, Deleted)]
    pruning = Pruning(storage.store, storage.removal)
    assert not (await pruning.prune(everything=False, until=None, rules=[])).removed
    assert storage.images.find(ONE.id).id == ONE.id
    removed = await storage.removal.remove(f"{host}/y", force=False)
    assert [line.id for line in removed if isinstance(line, Deleted)] == [
        TWO.id,
        TWO.chain_ids[1],
        ONE.id,
        *reversed(ONE.chain_ids),
    ]
    assert storage.files() == []


@pytest.mark.parametrize("kept_by", ["a name", "a container", "being told to"])
async def test_what_an_image_was_made_of_goes_with_it_only_where_nothing_needs_it(
    storage: Storage, host: str, kept_by: str
) -> None:
    await made_of(storage, TWO.id, ONE.id)
    if kept_by == "a container":
        await container(storage, f"{host}/x")
    if kept_by != "a name":
        await storage.removal.remove(f"{host}/x", force=True)
    await storage.removal.remove(f"{host}/y", force=False, prune=kept_by != "being told to")
    assert [image.id for image, _use in storage.store.catalogue.all()] == [ONE.id]


async def test_a_prune_takes_generations_in_one_go(storage: Storage, host: str) -> None:
    await made_of(storage, TWO.id, ONE.id)
    pruning = Pruning(storage.store, storage.removal)
    await pruning.prune(everything=True, until=None, rules=[])
    assert storage.files() == []


async def test_parents_are_known_after_a_restart_and_told_by_the_history(
    storage: Storage, host: str
) -> None:
    await made_of(storage, TWO.id, ONE.id)
    again = Catalogue(storage.store.root, "0badcafe")
    assert again.use(Digest(TWO.id)).parent == ONE.id
    assert [line.image_id for line in storage.images.history(TWO.id)] == [TWO.id, ONE.id]
