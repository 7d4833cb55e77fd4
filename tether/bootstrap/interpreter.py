"""Trims CPython and the wheels to what the tether imports.

The image's own interpreter runs straight from the unpacked packages, by the image's own dynamic
linker, so neither the host's Python version nor its libraries have a say in the result.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tether.bootstrap.debian import PYTHON
from tether.bootstrap.elf import library_closure
from tether.bootstrap.errors import BootstrapError

ENTRY_MODULES = ("tether.supervisor.__main__", "tether.agent.__main__")
LIBRARY = f"/usr/lib/{PYTHON}"
LOADER = "lib64/ld-linux-x86-64.so.2"
_SYSTEM_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


def interpreter_files(root: Path, site: Path, scratch: Path) -> dict[str, Path]:
    """Path in the image → file, for the interpreter, its libraries and all that is imported.

    ``root`` holds the unpacked Debian packages, ``site`` the wheels and the tether's sources.
    """
    binary = root / "usr/bin" / PYTHON
    libraries = [root / directory for directory in _SYSTEM_LIBRARIES]
    loader = _loader(root)
    modules = _import_closure(root, loader, libraries, site, scratch)
    extensions = [path for path in modules.values() if ".so" in path.suffixes]
    files = {f"{LIBRARY}/{name}": path for name, path in modules.items()}
    files[f"usr/bin/{PYTHON}"] = binary
    # dlopen'ed by glibc when a thread is cancelled or exits, so no DT_NEEDED names it.
    implicit = next(d / "libgcc_s.so.1" for d in libraries if (d / "libgcc_s.so.1").exists())
    for soname, path in library_closure([binary, *extensions, implicit], libraries).items():
        files[f"usr/lib/x86_64-linux-gnu/{soname}"] = path
    files["usr/lib/x86_64-linux-gnu/libgcc_s.so.1"] = implicit.resolve()
    files.pop(f"usr/lib/x86_64-linux-gnu/{Path(LOADER).name}", None)
    files[LOADER] = loader
    return files


def _loader(root: Path) -> Path:
    # Absolute links of the package point into the host; follow by name instead.
    candidates = [root / directory / Path(LOADER).name for directory in _SYSTEM_LIBRARIES]
    loader = next((path for path in candidates if path.exists()), None)
    if loader is None:
        raise BootstrapError("libc6 has no dynamic linker")
    return loader.resolve()


def _import_closure(
    root: Path, loader: Path, libraries: list[Path], site: Path, scratch: Path
) -> dict[str, Path]:
    script = Path(__file__).with_name("_closure.py")
    library = root / LIBRARY.lstrip("/")
    search = [library, library / "lib-dynload", site]
    start = f"import sys; sys.path[:] = {[str(path) for path in search]!r}; sys.argv.pop(0);"
    command = [
        str(loader),
        "--library-path",
        ":".join(str(path) for path in libraries),
        str(root / "usr/bin" / PYTHON),
        *("-S", "-B", "-c", start + "exec(compile(open(sys.argv[0]).read(), 'closure', 'exec'))"),
        str(script),
        str(scratch),
        LIBRARY,
        *ENTRY_MODULES,
    ]
    environment = {"PYTHONHASHSEED": "0", "PYTHONHOME": str(root / "usr"), "LC_ALL": "C.UTF-8"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise BootstrapError(f"the image's Python can't import the tether:\n{answer.stderr}")
    return {name: Path(path) for name, path in json.loads(answer.stdout).items()}
