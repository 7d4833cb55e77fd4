"""Any layers give the tree that a plain model of the rules gives."""

from __future__ import annotations

import copy
import hashlib
import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.storage.compiler import FileSystem, LayerInvalid, compile_delta
from tests.unit.storage.compiler.disks import (
    check,
    directory,
    empty_disk,
    file,
    hard_link,
    tar,
    tree,
)

NAMES = st.sampled_from(["a", "b"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
OPERATIONS = st.one_of(
    st.tuples(st.just("file"), PATHS, st.binary(max_size=3).map(lambda b: b * 2000)),
    st.tuples(st.just("directory"), PATHS, st.integers(0, 0o777)),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("whiteout"), PATHS, st.none()),
    st.tuples(st.just("opaque"), PATHS, st.none()),
)
LAYERS = st.lists(st.lists(OPERATIONS, max_size=10), min_size=1, max_size=5)


class Model:
    """The rules of applying layers, with dictionaries for directories and lists for files."""

    class Folder(dict[str, "Model.Folder | list[bytes]"]):
        """A directory: what this layer made or passed through is in `upper`."""

        def __init__(self) -> None:
            super().__init__()
            self.upper: set[str] = set()
            self.mode = 0o755

    def __init__(self) -> None:
        self.root = Model.Folder()

    def begin_layer(self) -> None:
        """Everything there is becomes lower."""
        pending = [self.root]
        while pending:
            folder = pending.pop()
            folder.upper.clear()
            pending += [c for c in folder.values() if isinstance(c, Model.Folder)]

    def parent(self, path: str, *, make: bool) -> Model.Folder | None:
        at = self.root
        trail: list[tuple[Model.Folder, str]] = []
        for part in path.split("/")[:-1]:
            child = at.get(part)
            if not isinstance(child, Model.Folder):
                if not make:
                    return None
                if child is not None and part in at.upper:
                    raise LayerInvalid("through a file")
                child = at[part] = Model.Folder()
                # What is made on the way is there even if the rest of the path fails.
                at.upper.add(part)
                for folder, name in trail:
                    folder.upper.add(name)
            trail.append((at, part))
            at = child
        return at

    def claim(self, path: str) -> None:
        at = self.root
        for part in path.split("/"):
            at.upper.add(part)
            child = at.get(part)
            if not isinstance(child, Model.Folder):
                return
            at = child

    def hide(self, folder: Model.Folder) -> None:
        for name, child in list(folder.items()):
            if name not in folder.upper:
                del folder[name]
            elif isinstance(child, Model.Folder):
                self.hide(child)

    def find(self, path: str) -> Model.Folder | list[bytes] | None:
        parent = self.parent(path, make=False)
        return None if parent is None else parent.get(path.split("/")[-1])

    def apply(self, what: str, path: str, value: object) -> None:
        name = path.split("/")[-1]
        if what == "whiteout":
            parent = self.parent(path, make=False)
            child = None if parent is None else parent.get(name)
            if parent is not None and child is not None:
                if name not in parent.upper:
                    del parent[name]
                elif isinstance(child, Model.Folder):
                    self.hide(child)
            return
        if what == "opaque":
            found = self.find(path)
            if isinstance(found, Model.Folder):
                self.hide(found)
            return
        parent = self.parent(path, make=True)
        assert parent is not None
        if what == "file":
            assert isinstance(value, bytes)
            parent[name] = [value]
        elif what == "directory":
            assert isinstance(value, int)
            child = parent.get(name)
            if not isinstance(child, Model.Folder):
                child = parent[name] = Model.Folder()
                child.upper.clear()
            child.mode = value
        else:
            assert isinstance(value, str)
            target = self.find(value)
            if not isinstance(target, list):
                raise LayerInvalid("no such file")
            if parent.get(name) is not target:
                parent.pop(name, None)
                if self.find(value) is not target:
                    raise LayerInvalid("replaces its target")
                parent[name] = target
        self.claim(path)

    def tree(self) -> dict[str, str]:
        found: dict[str, str] = {}
        pending = [("", self.root)]
        while pending:
            prefix, folder = pending.pop()
            for name, child in folder.items():
                if isinstance(child, Model.Folder):
                    found[prefix + name] = "directory"
                    pending.append((prefix + name + "/", child))
                else:
                    found[prefix + name] = "file " + child[0].decode("latin-1")
        return found


def layer_tar(operations: list[tuple[str, str, object]]) -> bytes:
    """A layer as a tar."""
    members = []
    for what, path, value in operations:
        head, _, last = path.rpartition("/")
        prefix = head + "/" if head else ""
        if what == "file":
            assert isinstance(value, bytes)
            members.append(file(path, value))
        elif what == "directory":
            assert isinstance(value, int)
            members.append(directory(path, value))
        elif what == "link":
            assert isinstance(value, str)
            members.append(hard_link(path, value))
        elif what == "whiteout":
            members.append(file(f"{prefix}.wh.{last}", b""))
        else:
            members.append(file(f"{path}/.wh..wh..opq", b""))
    return tar(*members)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LAYERS)
def test_any_layers_give_the_model_s_tree(
    layers: list[list[tuple[str, str, object]]],
) -> None:
    disk = empty_disk(16 << 20)
    model = Model()
    for operations in layers:
        model.begin_layer()
        done: list[tuple[str, str, object]] = []
        for operation in operations:
            # A layer that asks for the impossible is refused as a whole: leave such steps out.
            untouched = copy.deepcopy(model)
            try:
                model.apply(*operation)
            except LayerInvalid:
                refused = False
                try:
                    compile_delta(io.BytesIO(layer_tar([*done, operation])), disk, disk.copy())
                except LayerInvalid:
                    refused = True
                assert refused, operation
                model = untouched
                continue
            done.append(operation)
        child = disk.copy()
        compile_delta(io.BytesIO(layer_tar(done)), disk, child)
        disk = child
        assert tree(FileSystem(disk)) == model.tree()
    check(disk)


@settings(max_examples=25, deadline=None)
@given(LAYERS)
def test_the_same_layers_give_the_same_bytes(
    layers: list[list[tuple[str, str, object]]],
) -> None:
    def build() -> str:
        disk = empty_disk(16 << 20)
        for operations in layers:
            child = disk.copy()
            try:
                compile_delta(io.BytesIO(layer_tar(operations)), disk, child)
            except LayerInvalid:
                continue
            disk = child
        return hashlib.sha256(disk.data).hexdigest()

    assert build() == build()


def test_blocks_that_aren_t_written_are_the_parent_s() -> None:
    below = empty_disk()
    data = tar(directory("d"), *(file(f"d/{n}", b"x" * 5000) for n in range(50)))
    first = below.copy()
    compile_delta(io.BytesIO(data), below, first)
    above = first.copy()
    compile_delta(io.BytesIO(tar(file("d/7", b"new"))), first, above)
    assert len(above.written) < 12
    for block in range(above.size // 4096):
        if block not in above.written:
            assert above.read(block * 4096, 4096) == first.read(block * 4096, 4096)
