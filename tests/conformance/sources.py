"""docker-py's own integration tests, fetched once from PyPI: newer sdists hold none."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "6.1.3"
SHA256 = "aa6d17830045ba5ef0168d5eaa34d37beeb113948c413affe1d5991fc11f9a20"
CACHE = Path(__file__).resolve().parents[2] / ".cache"
DOWNLOAD_SECONDS = 300


def docker_py() -> Path:
    """Return the directory of the tests' project. Raises CalledProcessError without a network."""
    place = CACHE / f"docker-{VERSION}"
    if place.is_dir():
        return place
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--no-binary=docker", f"docker=={VERSION}"),
                *("--dest", directory),
            ],
            check=True,
            timeout=DOWNLOAD_SECONDS,
        )
        archive = Path(directory) / f"docker-{VERSION}.tar.gz"
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise RuntimeError(f"{archive.name} is not what it was")
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="data")
        unpacked = Path(directory) / f"docker-{VERSION}"
        # Its library isn't wanted: the one that is installed is tested with.
        shutil.rmtree(unpacked / "docker")
        unpacked.replace(place)
    return place
