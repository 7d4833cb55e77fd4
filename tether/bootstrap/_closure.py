"""Runs inside the image's own interpreter while the image is built.

Arguments: a directory to put compiled modules in, the library directory that they will have in
the guest, the modules to start from. Imports those, compiles every module that this pulled in,
and prints one JSON object: path within the library directory → file that goes there.
"""

import importlib
import json
import os
import py_compile
import sys

# Built in ahead of time: needed when something goes wrong, which the closure can't show.
_LAZY = ("encodings.ascii", "encodings.latin_1", "encodings.utf_8", "traceback", "linecache")
# Never asked for in a VM, and each with a library or many modules behind it: imported where it is
# there, done without where it isn't. TLS is gRPC's own.
_UNWANTED = (
    *("ssl", "_ssl", "_hashlib", "bz2", "_bz2", "lzma", "_lzma", "multiprocessing"),
    *("unittest", "pydoc", "xml", "tkinter", "curses", "readline", "ctypes.util"),
)


def main() -> None:
    """See the module's docstring."""
    out, library, *names = sys.argv[1:]
    sys.modules.update(dict.fromkeys(_UNWANTED))  # type: ignore[arg-type]
    for name in (*_LAZY, *names):
        importlib.import_module(name)
    loaded = {
        name: module
        for name, module in sys.modules.items()
        if getattr(module, "__spec__", None) is not None and name != "__main__"
    }
    # What only this script needed.
    for name in ("py_compile", "importlib.util"):
        loaded.pop(name, None)
    files = {}
    for name, module in sorted(loaded.items()):
        spec = module.__spec__
        assert spec is not None
        origin = spec.origin
        if origin == "frozen":
            # The guest's interpreter has it frozen too, but wants os's file as a landmark.
            origin = getattr(module, "__file__", None)
        if origin in (None, "built-in", "frozen") or not os.path.exists(origin):
            continue
        path = name.replace(".", "/")
        if hasattr(module, "__path__"):
            path += "/__init__"
        if origin.endswith(".py"):
            compiled = os.path.join(out, path + ".pyc")
            os.makedirs(os.path.dirname(compiled), exist_ok=True)
            py_compile.compile(
                origin,
                cfile=compiled,
                dfile=f"{library}/{path}.py",
                doraise=True,
                optimize=2,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            files[path + ".pyc"] = compiled
        else:
            files[path + "".join(os.path.basename(origin).partition(".")[1:])] = origin
    print(json.dumps(files))


main()
