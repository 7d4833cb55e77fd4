"""Composition root of the storage service: the one place where its parts are wired."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from vic.storage.v1 import disk_pb2_grpc, image_pb2_grpc, volume_pb2_grpc

from portlayer.identity import Credentials
from portlayer.journal import Journal
from portlayer.logs import configure_logs
from portlayer.server import FacetServer, stop_requested
from portlayer.telemetry import configure_telemetry
from portlayer.threads import in_thread
from portlayer.web.reach import guard_of
from portlayer.web.transport import Transport
from services.storage.archive_work import ArchiveWork
from services.storage.authoring.loading import Loader
from services.storage.authoring.maker import ImageMaker
from services.storage.compile_pool import CompilePool
from services.storage.disk_server import DiskServicer
from services.storage.disks import DiskStore
from services.storage.faults import StoreFaults
from services.storage.files import process_name
from services.storage.freshness import FreshStore
from services.storage.image_events import ImageEvents
from services.storage.image_store import ImageStore
from services.storage.imagec.download import Downloader, DownloadPolicy
from services.storage.imagec.endpoints import Endpoints
from services.storage.imagec.layer_work import LayerWork
from services.storage.imagec.pull import Puller
from services.storage.imagec.push import Pusher
from services.storage.imagec.queries import RegistryQueries
from services.storage.imagec.registries import Registries
from services.storage.images import Images
from services.storage.locks import Presence
from services.storage.roles import ACCESS, SERVICES
from services.storage.server import ImageServicer
from services.storage.settings import SHARED_UMASK, StorageSettings
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.holding import Holding
from services.storage.volumes.server import VolumeServicer
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses


async def serve(settings: StorageSettings) -> None:
    """Run the service until it is asked to stop."""
    stop = stop_requested()
    credentials = Credentials.load(settings.credentials_dir)
    async with AsyncExitStack() as stack:
        if settings.image_store_directory is not None:
            os.umask(SHARED_UMASK)
        presence = Presence(settings.state_dir / "processes", process_name())
        stack.callback(presence.close)
        disks = await in_thread(DiskStore, settings.state_dir / "containers", presence.lives)
        stack.push_async_callback(disks.settle)
        store = await in_thread(
            ImageStore,
            settings.image_directory,
            owner=settings.instance_id,
            base_size=settings.base_size_bytes,
            chains_in_use=disks.chains_in_use,
            quota=settings.image_quota_bytes,
        )
        stack.callback(store.close)
        pool = CompilePool(settings.compile_workers, settings.layer_limits)
        stack.push_async_callback(pool.close)
        transport = Transport(settings.registry_authorities, settings.proxies)
        stack.push_async_callback(transport.close)
        endpoints = Endpoints(
            settings.insecure_registries, settings.registry_mirrors, settings.allowed_registries
        )
        downloader = Downloader(DownloadPolicy(concurrent=settings.max_concurrent_downloads))
        registries = Registries(transport, endpoints)
        layers = LayerWork(store, downloader, pool)
        puller = Puller(registries, store, layers)
        pusher = Pusher(registries, store)
        archives = ArchiveWork(pool, store.blobs.directory)
        maker = ImageMaker(store, layers, archives)
        loader = Loader(store, maker, archives)
        images = Images(store, disks.records)
        journal = await in_thread(Journal, settings.state_dir / "image-events.jsonl")
        uses = await in_thread(Uses, settings.state_dir, presence.lives)
        volume_events = await in_thread(Journal, settings.state_dir / "volume-events.jsonl")
        stores = await in_thread(
            VolumeStores,
            settings.state_dir / "volumes",
            settings.volume_stores,
            settings.volume_directories,
            presence.lives,
        )
        volumes = await in_thread(Volumes, stores, uses, volume_events, settings.volume_size_bytes)
        stack.callback(volumes.close)
        server = FacetServer(
            credentials,
            settings.instance_id,
            ACCESS,
            SERVICES,
            share_ports=settings.share_ports,
            interceptors=[FreshStore(store, volumes.index)],
            explain=stores_of(settings),
        )
        image_pb2_grpc.add_ImageServiceServicer_to_server(
            ImageServicer(
                settings,
                store,
                images,
                disks,
                puller,
                pusher,
                maker,
                loader,
                lambda: import_transport(settings),
                RegistryQueries(registries),
                ImageEvents(journal),
            ),
            server.server,
        )
        disk_pb2_grpc.add_DiskServiceServicer_to_server(
            DiskServicer(store, images, disks), server.server
        )
        volume_pb2_grpc.add_VolumeServiceServicer_to_server(
            VolumeServicer(volumes, Holding(volumes, uses, volume_events), uses, volume_events),
            server.server,
        )
        try:
            await server.start(settings.addresses)
            await stop.wait()
        finally:
            journal.end_streams()
            volume_events.end_streams()
            await server.stop()


def import_transport(settings: StorageSettings) -> Transport:
    """Return what fetches for an import: whoever may import is not who may use the host."""
    guard = guard_of("imports")
    return Transport(settings.registry_authorities, settings.proxies, guard=guard)


def stores_of(settings: StorageSettings) -> StoreFaults:
    """Return what is to be said where one of the directories fails."""
    return StoreFaults(
        {
            settings.image_directory: "the image store",
            settings.state_dir: "the data directory",
        }
    )


def main() -> None:
    """Entry point."""
    settings = StorageSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    configure_telemetry(settings.role, settings.instance_id, settings.otlp_endpoint)
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        told = stores_of(settings)(error)
        if told is None:
            raise
        sys.exit(f"storage can't begin: {told.message}")


if __name__ == "__main__":
    main()
