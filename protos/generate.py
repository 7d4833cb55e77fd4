"""Generate the Python modules of the contract beside their .proto files.

Run as ``python protos/generate.py`` after a change to a .proto file; ``--check`` generates into a
temporary directory and fails when what is committed differs.
"""

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(out: Path) -> None:
    """Run protoc over every .proto file below ROOT. Raises RuntimeError when it refuses one."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    sources = sorted(str(path) for path in ROOT.glob("vic/**/*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    code = protoc.main(
        [
            "protoc",
            f"--plugin=protoc-gen-mypy_grpc={plugin}",
            f"-I{ROOT}",
            f"-I{well_known}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{out}",
            *sources,
        ]
    )
    if code != 0:
        raise RuntimeError(f"protoc failed with code {code}")
    for directory in sorted({Path(source).parent for source in sources}):
        package = out / directory.relative_to(ROOT)
        for level in (package, package.parent, package.parent.parent):
            (level / "__init__.py").touch()


def generated_files(root: Path) -> set[Path]:
    """Return the generated files below a directory, relative to it."""
    return {
        path.relative_to(root) for path in root.glob("vic/**/*") if path.name.endswith(GENERATED)
    }


def main() -> int:
    """Generate, or with --check compare. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        for path in generated_files(ROOT):
            (ROOT / path).unlink()
        generate(ROOT)
        return 0
    out = Path(tempfile.mkdtemp(prefix="vic-protos-"))
    try:
        generate(out)
        fresh, committed = generated_files(out), generated_files(ROOT)
        stale = {p for p in fresh & committed if not filecmp.cmp(out / p, ROOT / p, shallow=False)}
        wrong = sorted(str(p) for p in (fresh ^ committed) | stale)
    finally:
        shutil.rmtree(out)
    for name in wrong:
        print(f"not up to date: protos/{name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
