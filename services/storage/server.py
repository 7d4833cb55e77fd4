"""The RPC shell of images: decode, call, encode; nothing else. Disks have their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from vic.storage.v1 import image_pb2

from portlayer.errors import InvalidArgument
from services.storage import messages
from services.storage.authoring.loading import Loader
from services.storage.authoring.maker import ImageMaker
from services.storage.authoring.server import AuthoringServicer
from services.storage.authoring.source_url import NewTransport
from services.storage.disks import DiskStore
from services.storage.image_events import ImageEvents
from services.storage.image_records import StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.manifest import Platform
from services.storage.imagec.progress import Progress, ProgressLines, Status
from services.storage.imagec.pull import Pulled, Puller
from services.storage.imagec.push import Pushed, Pusher
from services.storage.imagec.queries import RegistryQueries
from services.storage.imagec.reference import Reference, parse_reference
from services.storage.images import Images, parse_push_reference
from services.storage.platforms import check_platform, parse_platform
from services.storage.pruning import LabelRule, Pruning
from services.storage.removal import Removal
from services.storage.settings import StorageSettings
from services.storage.watched import watched

Context = grpc.aio.ServicerContext[Any, Any]


class ImageServicer(AuthoringServicer):
    """Serves vic.storage.v1.ImageService."""

    def __init__(
        self,
        settings: StorageSettings,
        store: ImageStore,
        images: Images,
        disks: DiskStore,
        puller: Puller,
        pusher: Pusher,
        maker: ImageMaker,
        loader: Loader,
        new_transport: NewTransport,
        queries: RegistryQueries,
        events: ImageEvents,
    ) -> None:
        super().__init__(store, images, maker, loader, new_transport, events)
        self._settings = settings
        self._disks = disks
        self._puller = puller
        self._pusher = pusher
        self._queries = queries
        self._removal = Removal(store, images, disks, events)
        self._pruning = Pruning(store, self._removal)

    async def Info(
        self, request: image_pb2.ImageServiceInfoRequest, context: Context
    ) -> image_pb2.ImageServiceInfoResponse:
        """See the contract."""
        return image_pb2.ImageServiceInfoResponse(
            driver="vmdk",
            image_store=str(self._store.root),
            images=len(self._store.catalogue.all()),
            insecure_registries=["127.0.0.0/8", "::1/128", *self._settings.insecure_registries],
            registry_mirrors=self._settings.registry_mirrors,
            free_bytes=self._store.free_bytes,
            total_bytes=self._store.total_bytes,
        )

    async def Pull(
        self, request: image_pb2.PullRequest, context: Context
    ) -> AsyncIterator[image_pb2.PullResponse]:
        """See the contract."""
        reference = parse_reference(request.reference)
        wanted = parse_platform(request.platform)
        credentials = messages.credentials(request.credentials)
        references = [reference]
        if request.all_tags:
            if reference.tag is not None or reference.digest is not None:
                raise InvalidArgument("tag can't be used with --all-tags/-a")
            references = await self._queries.tags(reference, credentials)
        for each in references:
            work = partial(self._pull, each, credentials, wanted)
            async with aclosing(watched(work)) as items:
                async for item in items:
                    if isinstance(item, Pulled):
                        yield messages.pull_result(item)
                    else:
                        yield image_pb2.PullResponse(progress=messages.progress(item))

    async def _pull(
        self,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
        lines: ProgressLines,
    ) -> Pulled:
        pulled = await self._puller.pull(reference, credentials, platform, lines.put)
        if (image := self._store.catalogue.stored(pulled.image_id)) is not None:
            self._events.pulled(image, pulled.reference)
        return pulled

    async def Authenticate(
        self, request: image_pb2.AuthenticateRequest, context: Context
    ) -> image_pb2.AuthenticateResponse:
        """See the contract."""
        credentials = messages.credentials(request.credentials)
        token = await self._queries.authenticate(request.credentials.server_address, credentials)
        return image_pb2.AuthenticateResponse(identity_token=token)

    async def Search(
        self, request: image_pb2.SearchRequest, context: Context
    ) -> image_pb2.SearchResponse:
        """See the contract."""
        credentials = messages.credentials(request.credentials)
        hits = await self._queries.search(request.term, request.limit, credentials)
        return image_pb2.SearchResponse(results=[messages.hit(hit) for hit in hits])

    async def InspectDistribution(
        self, request: image_pb2.InspectDistributionRequest, context: Context
    ) -> image_pb2.InspectDistributionResponse:
        """See the contract."""
        found = await self._queries.inspect(
            parse_reference(request.reference), messages.credentials(request.credentials)
        )
        return image_pb2.InspectDistributionResponse(
            media_type=found.media_type,
            digest=found.digest,
            size_bytes=found.size,
            platforms=[str(platform) for platform in found.platforms],
        )

    async def Push(
        self, request: image_pb2.PushRequest, context: Context
    ) -> AsyncIterator[image_pb2.PushResponse]:
        """See the contract."""
        repository = parse_push_reference(request.reference, all_tags=request.all_tags)
        credentials = messages.credentials(request.credentials)
        refers = Progress("", Status.PUSHING_TO, text=repository.name)
        yield image_pb2.PushResponse(progress=messages.progress(refers))
        for reference in self._images.to_push(repository):
            work = partial(self._push, self._images.find(str(reference)), reference, credentials)
            async with aclosing(watched(work)) as items:
                async for item in items:
                    if isinstance(item, Pushed):
                        yield image_pb2.PushResponse(result=messages.push_result(item))
                    else:
                        yield image_pb2.PushResponse(progress=messages.progress(item))

    async def _push(
        self,
        image: StoredImage,
        reference: Reference,
        credentials: Credentials,
        lines: ProgressLines,
    ) -> Pushed:
        pushed = await self._pusher.push(image, reference, credentials, lines.put)
        self._events.pushed(image, reference)
        return pushed

    async def Get(
        self, request: image_pb2.ImageServiceGetRequest, context: Context
    ) -> image_pb2.ImageServiceGetResponse:
        """See the contract."""
        found = self._images.usable(request.reference)
        if (wanted := parse_platform(request.platform)) is not None:
            check_platform(request.reference, found.config.platform, wanted)
        return image_pb2.ImageServiceGetResponse(
            image=messages.image(found, self._images.use(found))
        )

    async def List(
        self, request: image_pb2.ImageServiceListRequest, context: Context
    ) -> image_pb2.ImageServiceListResponse:
        """See the contract."""
        return image_pb2.ImageServiceListResponse(
            images=[messages.summary(entry) for entry in self._images.all()]
        )

    async def Tag(self, request: image_pb2.TagRequest, context: Context) -> image_pb2.TagResponse:
        """See the contract."""
        image, reference = await self._images.tag(request.source, request.target)
        self._events.tagged(image, reference)
        return image_pb2.TagResponse()

    async def Remove(
        self, request: image_pb2.ImageServiceRemoveRequest, context: Context
    ) -> image_pb2.ImageServiceRemoveResponse:
        """See the contract."""
        removed = await self._removal.remove(
            request.reference,
            force=request.force,
            prune=not request.no_prune,
            running=frozenset(request.running_container_ids),
        )
        return image_pb2.ImageServiceRemoveResponse(
            removed=[messages.removed(entry) for entry in removed]
        )

    async def Prune(
        self, request: image_pb2.ImageServicePruneRequest, context: Context
    ) -> image_pb2.ImageServicePruneResponse:
        """See the contract."""
        pruned = await self._pruning.prune(
            everything=request.all,
            until=messages.moment(request.until) if request.HasField("until") else None,
            rules=[LabelRule.parse(text) for text in request.label_filters],
        )
        await self._store.sweep()
        self._events.pruned(pruned.reclaimed_bytes)
        return image_pb2.ImageServicePruneResponse(
            removed=[messages.removed(entry) for entry in pruned.removed],
            reclaimed_bytes=pruned.reclaimed_bytes,
        )

    async def History(
        self, request: image_pb2.HistoryRequest, context: Context
    ) -> image_pb2.HistoryResponse:
        """See the contract."""
        lines = self._images.history(request.reference)
        return image_pb2.HistoryResponse(entries=[messages.history_entry(line) for line in lines])

    async def WatchEvents(
        self, request: image_pb2.ImageServiceWatchEventsRequest, context: Context
    ) -> AsyncIterator[image_pb2.ImageServiceWatchEventsResponse]:
        """See the contract."""
        journal = self._events.journal
        since = request.since.ToNanoseconds() if request.HasField("since") else 0
        until = request.until.ToNanoseconds() if request.HasField("until") else 0
        after = journal.start_of(request.after_sequence, since)
        started = image_pb2.ImageEventsStarted(sequence=journal.newest)
        yield image_pb2.ImageServiceWatchEventsResponse(started=started)
        following = journal.follow(after, since_ns=since, until_ns=until)
        async with aclosing(following) as entries:
            async for entry in entries:
                yield image_pb2.ImageServiceWatchEventsResponse(event=messages.event(entry))

    async def DiskUsage(
        self, request: image_pb2.DiskUsageRequest, context: Context
    ) -> image_pb2.DiskUsageResponse:
        """See the contract."""
        summaries = self._images.all()
        sizes = {entry.image.id: entry.image.size_bytes for entry in summaries}
        wanted = set(request.container_ids)
        told = not request.containers_only
        return image_pb2.DiskUsageResponse(
            layers_bytes=self._images.layers_bytes() if told else 0,
            images=[messages.summary(entry) for entry in summaries] if told else (),
            containers=[
                image_pb2.ContainerDiskUsage(
                    container_id=record.container_id,
                    writable_bytes=self._disks.writable_bytes(record.container_id),
                    root_bytes=sizes.get(record.image_id, 0),
                )
                for record in self._disks.records()
                if not wanted or record.container_id in wanted
            ],
        )
