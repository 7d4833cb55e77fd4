"""The storage facet's images in memory: those of a registry, and those that were pulled."""

import io
import itertools
import tarfile
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from vic.storage.v1 import image_pb2, image_pb2_grpc

from gateway.translate.references import familiar
from portlayer.errors import InvalidArgument, NotFound, Reason, VicError

DIGEST = "sha256:" + "d" * 64


class FakeImages(image_pb2_grpc.ImageServiceServicer):
    """Images that can be pulled, and those that were."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.uploads: list[list[Any]] = []
        self.arriving: list[Any] = []
        self.refused: VicError | None = None
        """What Commit fails with, once some of the layer has come."""

        self.builds = False
        """Whether what Commit makes is an image that is there from then on."""

        self.files: dict[str, bytes] = {}
        """Of all images, by path; an empty one is a directory."""

        self.registry = {
            name: image_pb2.Image(
                id=f"sha256:{next(numbers):064x}",
                repository_tags=[name],
                repository_digests=[f"{name.rpartition(':')[0]}@{DIGEST}"],
                created_at=Timestamp(seconds=1_700_000_000),
                architecture="amd64",
                os="linux",
                size_bytes=4_261_550,
                diff_ids=["sha256:" + "1" * 64],
                config=image_pb2.ImageConfig(
                    command=["true"], env=["PATH=/bin"], labels={"made": "here"}
                ),
            )
            for name in ("busybox:latest", "registry.test:5000/team/app:1.2")
        }
        self.images: dict[str, image_pb2.Image] = {}
        self.pulls: list[image_pb2.PullRequest] = []
        self.pushes: list[image_pb2.PushRequest] = []
        self.removals: list[image_pb2.ImageServiceRemoveRequest] = []
        self.prunes: list[image_pb2.ImageServicePruneRequest] = []

    def find(self, reference: str) -> image_pb2.Image:
        for image in self.images.values():
            names = {*image.repository_tags, *image.repository_digests, image.id}
            if reference in names or f"{reference}:latest" in names:
                return image
            if len(reference) > 3 and image.id.removeprefix("sha256:").startswith(reference):
                return image
        raise NotFound(f"No such image: {reference}", Reason.IMAGE_NOT_FOUND)

    async def Info(
        self, request: image_pb2.ImageServiceInfoRequest, context: Any
    ) -> image_pb2.ImageServiceInfoResponse:
        return image_pb2.ImageServiceInfoResponse(
            driver="vmdk", image_store="/var/lib/vic/storage", images=len(self.images)
        )

    async def Pull(
        self, request: image_pb2.PullRequest, context: Any
    ) -> AsyncIterator[image_pb2.PullResponse]:
        self.pulls.append(request)
        reference = familiar(request.reference)
        image = self.registry.get(reference)
        if image is None:
            raise NotFound(
                f"manifest for {reference} not found: manifest unknown", Reason.MANIFEST_NOT_FOUND
            )
        name, _, tag = reference.rpartition(":")
        steps: list[dict[str, Any]] = [
            {"id": tag, "status": image_pb2.PROGRESS_STATUS_PULLING_FROM, "text": f"library/{name}"}
        ]
        if image.id not in self.images:
            layer = "a1b2c3d4e5f6"
            steps += [
                {"id": layer, "status": image_pb2.PROGRESS_STATUS_PULLING_LAYER},
                {
                    "id": layer,
                    "status": image_pb2.PROGRESS_STATUS_DOWNLOADING,
                    "current_bytes": 1_000_000,
                    "total_bytes": 2_000_000,
                },
                {"id": layer, "status": image_pb2.PROGRESS_STATUS_PULL_COMPLETE},
            ]
        for step in steps:
            yield image_pb2.PullResponse(progress=image_pb2.Progress(**step))
        downloaded = image.id not in self.images
        self.images[image.id] = image
        yield image_pb2.PullResponse(
            result=image_pb2.PullResult(
                digest=DIGEST,
                downloaded=downloaded,
                canonical_reference=f"docker.io/library/{reference}",
                image_id=image.id,
            )
        )

    async def Get(
        self, request: image_pb2.ImageServiceGetRequest, context: Any
    ) -> image_pb2.ImageServiceGetResponse:
        image = self.find(request.reference)
        if request.platform not in ("", f"{image.os}/{image.architecture}"):
            raise NotFound(
                f"{request.reference} is not for {request.platform}", Reason.IMAGE_NOT_FOUND
            )
        return image_pb2.ImageServiceGetResponse(image=image)

    async def List(
        self, request: image_pb2.ImageServiceListRequest, context: Any
    ) -> image_pb2.ImageServiceListResponse:
        summaries = [image_pb2.ImageSummary(image=image) for image in self.images.values()]
        return image_pb2.ImageServiceListResponse(images=summaries)

    async def Tag(self, request: image_pb2.TagRequest, context: Any) -> image_pb2.TagResponse:
        image = self.find(request.source)
        image.repository_tags.append(
            request.target if ":" in request.target else f"{request.target}:latest"
        )
        return image_pb2.TagResponse()

    async def History(
        self, request: image_pb2.HistoryRequest, context: Any
    ) -> image_pb2.HistoryResponse:
        image = self.find(request.reference)
        return image_pb2.HistoryResponse(
            entries=[
                image_pb2.HistoryEntry(
                    image_id=image.id,
                    created_at=image.created_at,
                    created_by="CMD true",
                    size_bytes=5,
                    comment="why",
                    repository_tags=image.repository_tags,
                ),
                image_pb2.HistoryEntry(image_id="<missing>", created_at=image.created_at),
            ]
        )

    async def Search(
        self, request: image_pb2.SearchRequest, context: Any
    ) -> image_pb2.SearchResponse:
        hits = (("official", 100, True), (request.term, request.limit, False))
        return image_pb2.SearchResponse(
            results=[
                image_pb2.SearchResult(name=name, stars=stars, official=official)
                for name, stars, official in hits
            ]
        )

    async def InspectDistribution(
        self, request: image_pb2.InspectDistributionRequest, context: Any
    ) -> image_pb2.InspectDistributionResponse:
        return image_pb2.InspectDistributionResponse(
            media_type="m",
            digest="sha256:1",
            size_bytes=7,
            platforms=["linux/amd64", "linux/arm64/v8"],
        )

    async def _receive(self, request: AsyncIterator[Any]) -> None:
        """Keep what comes, however it ends."""
        self.arriving = []
        try:
            async for message in request:
                self.arriving.append(message)
        finally:
            self.uploads.append(self.arriving)

    async def Import(
        self, request: AsyncIterator[image_pb2.ImportRequest], context: Any
    ) -> AsyncIterator[image_pb2.ImportResponse]:
        await self._receive(request)
        progress = image_pb2.Progress(
            status=image_pb2.PROGRESS_STATUS_IMPORTING, current_bytes=1, total_bytes=2
        )
        yield image_pb2.ImportResponse(progress=progress)
        yield image_pb2.ImportResponse(image_id="sha256:1")

    async def Commit(
        self, request: AsyncIterator[image_pb2.CommitRequest], context: Any
    ) -> image_pb2.CommitResponse:
        if self.refused is not None:
            messages = aiter(request)
            while not (await anext(messages)).data:
                pass
            raise self.refused
        await self._receive(request)
        if not self.builds:
            return image_pb2.CommitResponse(image_id="sha256:made")
        start = self.uploads[-1][0].start
        image = image_pb2.Image(
            id=f"sha256:{len(self.uploads) + 0xB000:064x}",
            parent_id=start.parent,
            config=start.config,
            container_config=start.container_config,
            container_id=start.container_id,
            author=start.author,
        )
        self.images[image.id] = image
        return image_pb2.CommitResponse(image_id=image.id)

    async def ReadTree(
        self, request: image_pb2.ReadTreeRequest, context: Any
    ) -> AsyncIterator[image_pb2.ReadTreeResponse]:
        self.find(request.reference)
        content = self.files.get(request.path)
        parts = len(request.path.strip("/").split("/"))
        where = image_pb2.TreePath(path=request.path, missing=parts if content is None else 0)
        where.mode = 0 if content is None else 0o40755 if content == b"" else 0o100644
        yield image_pb2.ReadTreeResponse(path=where)
        if content and not request.stat_only:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as tar:
                header = tarfile.TarInfo(request.path.rpartition("/")[2])
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
            yield image_pb2.ReadTreeResponse(data=packed.getvalue())

    async def Load(
        self, request: AsyncIterator[image_pb2.LoadRequest], context: Any
    ) -> AsyncIterator[image_pb2.LoadResponse]:
        await self._receive(request)
        if any(message.data == b"damaged" for message in self.uploads[-1]):
            raise InvalidArgument("invalid archive: damaged", Reason.INVALID_ARCHIVE)
        progress = image_pb2.Progress(
            id="abc", status=image_pb2.PROGRESS_STATUS_LOADING_LAYER, current_bytes=1, total_bytes=2
        )
        yield image_pb2.LoadResponse(progress=progress)
        for reference, replaced in (("x:1", "sha256:2"), ("", "")):
            yield image_pb2.LoadResponse(
                loaded=image_pb2.LoadedImage(
                    image_id="sha256:1", reference=reference, replaced_image_id=replaced
                )
            )

    async def Save(
        self, request: image_pb2.SaveRequest, context: Any
    ) -> AsyncIterator[image_pb2.SaveResponse]:
        if "nosuch" in request.references:
            raise NotFound("No such image: nosuch", Reason.IMAGE_NOT_FOUND)
        yield image_pb2.SaveResponse(data=str(request.references).encode())
        yield image_pb2.SaveResponse(data=request.platform.encode())

    async def Push(
        self, request: image_pb2.PushRequest, context: Any
    ) -> AsyncIterator[image_pb2.PushResponse]:
        self.pushes.append(request)
        pushing = image_pb2.Progress(
            status=image_pb2.PROGRESS_STATUS_PUSHING_TO, text=request.reference
        )
        yield image_pb2.PushResponse(progress=pushing)
        if "nosuch" in request.reference:
            raise NotFound(
                "An image does not exist locally with the tag: nosuch", Reason.IMAGE_NOT_FOUND
            )
        mounted = image_pb2.Progress(
            id="a1b2", status=image_pb2.PROGRESS_STATUS_MOUNTED, text="library/x"
        )
        yield image_pb2.PushResponse(progress=mounted)
        yield image_pb2.PushResponse(
            result=image_pb2.PushResult(tag="latest", digest=DIGEST, size_bytes=9)
        )

    async def Prune(
        self, request: image_pb2.ImageServicePruneRequest, context: Any
    ) -> image_pb2.ImageServicePruneResponse:
        self.prunes.append(request)
        return image_pb2.ImageServicePruneResponse(
            removed=[image_pb2.RemovedImage(deleted="sha256:1")], reclaimed_bytes=7
        )

    async def DiskUsage(
        self, request: image_pb2.DiskUsageRequest, context: Any
    ) -> image_pb2.DiskUsageResponse:
        return image_pb2.DiskUsageResponse(
            layers_bytes=100,
            images=[
                image_pb2.ImageSummary(image=image, containers=2, shared_bytes=3)
                for image in self.images.values()
            ],
            containers=[
                image_pb2.ContainerDiskUsage(container_id=one, writable_bytes=5, root_bytes=90)
                for one in request.container_ids or ["c" * 64]
            ],
        )

    async def Remove(
        self, request: image_pb2.ImageServiceRemoveRequest, context: Any
    ) -> image_pb2.ImageServiceRemoveResponse:
        self.removals.append(request)
        image = self.find(request.reference)
        del self.images[image.id]
        return image_pb2.ImageServiceRemoveResponse(
            removed=[
                image_pb2.RemovedImage(untagged=image.repository_tags[0]),
                image_pb2.RemovedImage(deleted=image.id),
            ]
        )
