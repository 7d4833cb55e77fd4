"""Debian's registry, on loopback."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.images.image import INDEX_TYPE, Image, index_bytes, sha256

NOBODY = 65534


class Registry:
    """Debian's docker-registry on a free loopback port, its data in a temporary directory.

    `htpasswd`, lines of "name:bcrypt hash", turns basic authentication on; `proxy_of`, the URL of
    another registry, makes it a pull-through mirror.
    """

    def __init__(self, *, htpasswd: str | None = None, proxy_of: str | None = None) -> None:
        self._htpasswd = htpasswd
        self._proxy_of = proxy_of
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=200)
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None
        self.root = Path()
        self.address = ""
        """"127.0.0.1:PORT"."""

    @property
    def pid(self) -> int:
        """Process ID of the running registry."""
        assert self._process is not None
        return self._process.pid

    @property
    def data(self) -> Path:
        """Where the registry keeps its blobs."""
        return self.root / "data" / "docker" / "registry" / "v2"

    def start(self) -> Self:
        """Start and wait until it listens."""
        self.root = Path(tempfile.mkdtemp(prefix="vic-registry-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        config = self.root / "config.json"  # JSON is YAML too
        config.write_text(json.dumps(self._config()))
        if self._htpasswd is not None:
            (self.root / "htpasswd").write_text(self._htpasswd)
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            for path in (self.root, *self.root.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.root)},
            **as_nobody,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._listening.wait(120) or not self.address:
            raise RuntimeError("the registry does not start:\n" + "".join(self._log))

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.root / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "of no value"},
        }
        if self._htpasswd is not None:
            path = str(self.root / "htpasswd")
            config["auth"] = {"htpasswd": {"realm": "vic tests", "path": path}}
        if self._proxy_of is not None:
            config["proxy"] = {"remoteurl": self._proxy_of}
        return config

    def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                self.address = found.group(1)
                self._listening.set()
        self._listening.set()

    def stop(self) -> None:
        """Stop it and delete its data."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._reader is not None:
                self._reader.join()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def push(
        self,
        image: Image,
        repository: str,
        tag: str = "latest",
        *,
        login: tuple[str, str] | None = None,
    ) -> str:
        """Push `image` by plain HTTP; returns "127.0.0.1:PORT/repository:tag"."""
        for content in (image.config_bytes, *(layer.blob for layer in image.layers)):
            self._push_blob(repository, content, login)
        self.push_manifest(
            repository, tag, image.manifest_bytes, media_type=image.media_type, login=login
        )
        return f"{self.address}/{repository}:{tag}"

    def push_index(
        self, images: Sequence[Image], repository: str, tag: str = "latest"
    ) -> tuple[str, str]:
        """Push an index of images; returns its reference and its digest."""
        for image in images:
            self.push(image, repository, image.digest)
        flavour = images[0].flavour
        body = index_bytes(images, flavour)
        self.push_manifest(repository, tag, body, media_type=INDEX_TYPE[flavour])
        return f"{self.address}/{repository}:{tag}", sha256(body)

    def push_manifest(
        self,
        repository: str,
        reference: str,
        body: bytes,
        *,
        media_type: str,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Put a manifest or an index under a tag or under its own digest."""
        self._request(
            "PUT", f"/v2/{repository}/manifests/{reference}", body, media_type, login
        ).close()

    def _push_blob(self, repository: str, content: bytes, login: tuple[str, str] | None) -> None:
        digest = sha256(content)
        try:
            self._request("HEAD", f"/v2/{repository}/blobs/{digest}", None, None, login).close()
        except urllib.error.HTTPError as missing:
            with missing:
                if missing.code != 404:
                    raise
        else:
            return
        with self._request("POST", f"/v2/{repository}/blobs/uploads/", b"", None, login) as answer:
            location = urllib.parse.urljoin(f"http://{self.address}", answer.headers["Location"])
        joined = "&" if "?" in location else "?"
        target = f"{location}{joined}{urllib.parse.urlencode({'digest': digest})}"
        path = target.removeprefix(f"http://{self.address}")
        self._request("PUT", path, content, "application/octet-stream", login).close()

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str | None,
        login: tuple[str, str] | None,
    ) -> Any:
        request = urllib.request.Request(f"http://{self.address}{path}", data=body, method=method)
        if content_type is not None:
            request.add_header("Content-Type", content_type)
        if login is not None:
            token = base64.b64encode(":".join(login).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(request, timeout=60)
