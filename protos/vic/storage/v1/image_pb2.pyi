import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProgressStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROGRESS_STATUS_UNSPECIFIED: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PULLING_FROM: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PULLING_LAYER: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_WAITING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_DOWNLOADING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_VERIFYING_CHECKSUM: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_DOWNLOAD_COMPLETE: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_EXTRACTING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PULL_COMPLETE: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_ALREADY_EXISTS: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_RETRYING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PUSHING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PUSHED: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_MOUNTED: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PUSHING_TO: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_PREPARING: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_LAYER_EXISTS: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_LOADING_LAYER: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_DOWNLOADING_FROM: _ClassVar[ProgressStatus]
    PROGRESS_STATUS_IMPORTING: _ClassVar[ProgressStatus]

class ImageEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_EVENT_KIND_UNSPECIFIED: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_PULL: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_PUSH: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_TAG: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_UNTAG: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_DELETE: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_LOAD: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_IMPORT: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_SAVE: _ClassVar[ImageEventKind]
    IMAGE_EVENT_KIND_PRUNE: _ClassVar[ImageEventKind]
PROGRESS_STATUS_UNSPECIFIED: ProgressStatus
PROGRESS_STATUS_PULLING_FROM: ProgressStatus
PROGRESS_STATUS_PULLING_LAYER: ProgressStatus
PROGRESS_STATUS_WAITING: ProgressStatus
PROGRESS_STATUS_DOWNLOADING: ProgressStatus
PROGRESS_STATUS_VERIFYING_CHECKSUM: ProgressStatus
PROGRESS_STATUS_DOWNLOAD_COMPLETE: ProgressStatus
PROGRESS_STATUS_EXTRACTING: ProgressStatus
PROGRESS_STATUS_PULL_COMPLETE: ProgressStatus
PROGRESS_STATUS_ALREADY_EXISTS: ProgressStatus
PROGRESS_STATUS_RETRYING: ProgressStatus
PROGRESS_STATUS_PUSHING: ProgressStatus
PROGRESS_STATUS_PUSHED: ProgressStatus
PROGRESS_STATUS_MOUNTED: ProgressStatus
PROGRESS_STATUS_PUSHING_TO: ProgressStatus
PROGRESS_STATUS_PREPARING: ProgressStatus
PROGRESS_STATUS_LAYER_EXISTS: ProgressStatus
PROGRESS_STATUS_LOADING_LAYER: ProgressStatus
PROGRESS_STATUS_DOWNLOADING_FROM: ProgressStatus
PROGRESS_STATUS_IMPORTING: ProgressStatus
IMAGE_EVENT_KIND_UNSPECIFIED: ImageEventKind
IMAGE_EVENT_KIND_PULL: ImageEventKind
IMAGE_EVENT_KIND_PUSH: ImageEventKind
IMAGE_EVENT_KIND_TAG: ImageEventKind
IMAGE_EVENT_KIND_UNTAG: ImageEventKind
IMAGE_EVENT_KIND_DELETE: ImageEventKind
IMAGE_EVENT_KIND_LOAD: ImageEventKind
IMAGE_EVENT_KIND_IMPORT: ImageEventKind
IMAGE_EVENT_KIND_SAVE: ImageEventKind
IMAGE_EVENT_KIND_PRUNE: ImageEventKind

class ImageServiceInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImageServiceInfoResponse(_message.Message):
    __slots__ = ("driver", "image_store", "images", "insecure_registries", "registry_mirrors", "free_bytes", "total_bytes")
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STORE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    INSECURE_REGISTRIES_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_MIRRORS_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    driver: str
    image_store: str
    images: int
    insecure_registries: _containers.RepeatedScalarFieldContainer[str]
    registry_mirrors: _containers.RepeatedScalarFieldContainer[str]
    free_bytes: int
    total_bytes: int
    def __init__(self, driver: _Optional[str] = ..., image_store: _Optional[str] = ..., images: _Optional[int] = ..., insecure_registries: _Optional[_Iterable[str]] = ..., registry_mirrors: _Optional[_Iterable[str]] = ..., free_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class RegistryCredentials(_message.Message):
    __slots__ = ("username", "password", "identity_token", "registry_token", "server_address")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SERVER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    identity_token: str
    registry_token: str
    server_address: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., identity_token: _Optional[str] = ..., registry_token: _Optional[str] = ..., server_address: _Optional[str] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("reference", "credentials", "platform", "all_tags")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    ALL_TAGS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    credentials: RegistryCredentials
    platform: str
    all_tags: bool
    def __init__(self, reference: _Optional[str] = ..., credentials: _Optional[_Union[RegistryCredentials, _Mapping]] = ..., platform: _Optional[str] = ..., all_tags: _Optional[bool] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("progress", "result")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    result: PullResult
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[PullResult, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("id", "status", "current_bytes", "total_bytes", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: ProgressStatus
    current_bytes: int
    total_bytes: int
    text: str
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[ProgressStatus, str]] = ..., current_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class PullResult(_message.Message):
    __slots__ = ("digest", "downloaded", "canonical_reference", "image_id")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADED_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    digest: str
    downloaded: bool
    canonical_reference: str
    image_id: str
    def __init__(self, digest: _Optional[str] = ..., downloaded: _Optional[bool] = ..., canonical_reference: _Optional[str] = ..., image_id: _Optional[str] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("reference", "credentials", "all_tags")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    ALL_TAGS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    credentials: RegistryCredentials
    all_tags: bool
    def __init__(self, reference: _Optional[str] = ..., credentials: _Optional[_Union[RegistryCredentials, _Mapping]] = ..., all_tags: _Optional[bool] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("progress", "result")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    result: PushResult
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[PushResult, _Mapping]] = ...) -> None: ...

class PushResult(_message.Message):
    __slots__ = ("tag", "digest", "size_bytes")
    TAG_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    tag: str
    digest: str
    size_bytes: int
    def __init__(self, tag: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class AuthenticateRequest(_message.Message):
    __slots__ = ("credentials",)
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    credentials: RegistryCredentials
    def __init__(self, credentials: _Optional[_Union[RegistryCredentials, _Mapping]] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ("identity_token",)
    IDENTITY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    identity_token: str
    def __init__(self, identity_token: _Optional[str] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("term", "limit", "credentials")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    term: str
    limit: int
    credentials: RegistryCredentials
    def __init__(self, term: _Optional[str] = ..., limit: _Optional[int] = ..., credentials: _Optional[_Union[RegistryCredentials, _Mapping]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping]]] = ...) -> None: ...

class SearchResult(_message.Message):
    __slots__ = ("name", "description", "stars", "official")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STARS_FIELD_NUMBER: _ClassVar[int]
    OFFICIAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    stars: int
    official: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., stars: _Optional[int] = ..., official: _Optional[bool] = ...) -> None: ...

class InspectDistributionRequest(_message.Message):
    __slots__ = ("reference", "credentials")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    credentials: RegistryCredentials
    def __init__(self, reference: _Optional[str] = ..., credentials: _Optional[_Union[RegistryCredentials, _Mapping]] = ...) -> None: ...

class InspectDistributionResponse(_message.Message):
    __slots__ = ("media_type", "digest", "size_bytes", "platforms")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    digest: str
    size_bytes: int
    platforms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, media_type: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., platforms: _Optional[_Iterable[str]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("id", "repository_tags", "repository_digests", "created_at", "architecture", "os", "variant", "author", "comment", "docker_version", "size_bytes", "diff_ids", "config", "chain_id", "parent_id", "last_tagged_at", "container_id", "container_config")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_TAGS_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DOCKER_VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIFF_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_TAGGED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    id: str
    repository_tags: _containers.RepeatedScalarFieldContainer[str]
    repository_digests: _containers.RepeatedScalarFieldContainer[str]
    created_at: _timestamp_pb2.Timestamp
    architecture: str
    os: str
    variant: str
    author: str
    comment: str
    docker_version: str
    size_bytes: int
    diff_ids: _containers.RepeatedScalarFieldContainer[str]
    config: ImageConfig
    chain_id: str
    parent_id: str
    last_tagged_at: _timestamp_pb2.Timestamp
    container_id: str
    container_config: str
    def __init__(self, id: _Optional[str] = ..., repository_tags: _Optional[_Iterable[str]] = ..., repository_digests: _Optional[_Iterable[str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., architecture: _Optional[str] = ..., os: _Optional[str] = ..., variant: _Optional[str] = ..., author: _Optional[str] = ..., comment: _Optional[str] = ..., docker_version: _Optional[str] = ..., size_bytes: _Optional[int] = ..., diff_ids: _Optional[_Iterable[str]] = ..., config: _Optional[_Union[ImageConfig, _Mapping]] = ..., chain_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., last_tagged_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., container_id: _Optional[str] = ..., container_config: _Optional[str] = ...) -> None: ...

class ImageConfig(_message.Message):
    __slots__ = ("env", "entrypoint", "command", "user", "working_directory", "exposed_ports", "labels", "stop_signal", "volumes", "health_check", "shell", "on_build", "args_escaped")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENV_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    ON_BUILD_FIELD_NUMBER: _ClassVar[int]
    ARGS_ESCAPED_FIELD_NUMBER: _ClassVar[int]
    env: _containers.RepeatedScalarFieldContainer[str]
    entrypoint: _containers.RepeatedScalarFieldContainer[str]
    command: _containers.RepeatedScalarFieldContainer[str]
    user: str
    working_directory: str
    exposed_ports: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    stop_signal: str
    volumes: _containers.RepeatedScalarFieldContainer[str]
    health_check: ImageHealthCheck
    shell: _containers.RepeatedScalarFieldContainer[str]
    on_build: _containers.RepeatedScalarFieldContainer[str]
    args_escaped: bool
    def __init__(self, env: _Optional[_Iterable[str]] = ..., entrypoint: _Optional[_Iterable[str]] = ..., command: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., working_directory: _Optional[str] = ..., exposed_ports: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., stop_signal: _Optional[str] = ..., volumes: _Optional[_Iterable[str]] = ..., health_check: _Optional[_Union[ImageHealthCheck, _Mapping]] = ..., shell: _Optional[_Iterable[str]] = ..., on_build: _Optional[_Iterable[str]] = ..., args_escaped: _Optional[bool] = ...) -> None: ...

class ImageHealthCheck(_message.Message):
    __slots__ = ("test", "interval", "timeout", "start_period", "start_interval", "retries")
    TEST_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    START_PERIOD_FIELD_NUMBER: _ClassVar[int]
    START_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    test: _containers.RepeatedScalarFieldContainer[str]
    interval: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    start_period: _duration_pb2.Duration
    start_interval: _duration_pb2.Duration
    retries: int
    def __init__(self, test: _Optional[_Iterable[str]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retries: _Optional[int] = ...) -> None: ...

class ImageServiceGetRequest(_message.Message):
    __slots__ = ("reference", "platform")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    reference: str
    platform: str
    def __init__(self, reference: _Optional[str] = ..., platform: _Optional[str] = ...) -> None: ...

class ImageServiceGetResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class ImageServiceListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImageServiceListResponse(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageSummary]
    def __init__(self, images: _Optional[_Iterable[_Union[ImageSummary, _Mapping]]] = ...) -> None: ...

class ImageSummary(_message.Message):
    __slots__ = ("image", "containers", "shared_bytes")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    SHARED_BYTES_FIELD_NUMBER: _ClassVar[int]
    image: Image
    containers: int
    shared_bytes: int
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., containers: _Optional[int] = ..., shared_bytes: _Optional[int] = ...) -> None: ...

class TagRequest(_message.Message):
    __slots__ = ("source", "target")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class TagResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImageServiceRemoveRequest(_message.Message):
    __slots__ = ("reference", "force", "no_prune", "running_container_ids")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    NO_PRUNE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    force: bool
    no_prune: bool
    running_container_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reference: _Optional[str] = ..., force: _Optional[bool] = ..., no_prune: _Optional[bool] = ..., running_container_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageServiceRemoveResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: _containers.RepeatedCompositeFieldContainer[RemovedImage]
    def __init__(self, removed: _Optional[_Iterable[_Union[RemovedImage, _Mapping]]] = ...) -> None: ...

class RemovedImage(_message.Message):
    __slots__ = ("untagged", "deleted")
    UNTAGGED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    untagged: str
    deleted: str
    def __init__(self, untagged: _Optional[str] = ..., deleted: _Optional[str] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("image_id", "created_at", "created_by", "size_bytes", "comment", "repository_tags")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_TAGS_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    created_at: _timestamp_pb2.Timestamp
    created_by: str
    size_bytes: int
    comment: str
    repository_tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., size_bytes: _Optional[int] = ..., comment: _Optional[str] = ..., repository_tags: _Optional[_Iterable[str]] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("start", "data", "complete")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    start: ImportStart
    data: bytes
    complete: bool
    def __init__(self, start: _Optional[_Union[ImportStart, _Mapping]] = ..., data: _Optional[bytes] = ..., complete: _Optional[bool] = ...) -> None: ...

class ImportStart(_message.Message):
    __slots__ = ("reference", "message", "changes", "platform", "source_url")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    message: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    platform: str
    source_url: str
    def __init__(self, reference: _Optional[str] = ..., message: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ..., platform: _Optional[str] = ..., source_url: _Optional[str] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("progress", "image_id")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    image_id: str
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., image_id: _Optional[str] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("start", "data", "complete")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    start: CommitStart
    data: bytes
    complete: bool
    def __init__(self, start: _Optional[_Union[CommitStart, _Mapping]] = ..., data: _Optional[bytes] = ..., complete: _Optional[bool] = ...) -> None: ...

class CommitStart(_message.Message):
    __slots__ = ("parent", "reference", "author", "message", "changes", "config", "created_by", "container_id", "container_config")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    parent: str
    reference: str
    author: str
    message: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    config: ImageConfig
    created_by: str
    container_id: str
    container_config: str
    def __init__(self, parent: _Optional[str] = ..., reference: _Optional[str] = ..., author: _Optional[str] = ..., message: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ..., config: _Optional[_Union[ImageConfig, _Mapping]] = ..., created_by: _Optional[str] = ..., container_id: _Optional[str] = ..., container_config: _Optional[str] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("image_id",)
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    def __init__(self, image_id: _Optional[str] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("start", "data", "complete")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    start: LoadStart
    data: bytes
    complete: bool
    def __init__(self, start: _Optional[_Union[LoadStart, _Mapping]] = ..., data: _Optional[bytes] = ..., complete: _Optional[bool] = ...) -> None: ...

class LoadStart(_message.Message):
    __slots__ = ("platform",)
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    platform: str
    def __init__(self, platform: _Optional[str] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("progress", "loaded")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    loaded: LoadedImage
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., loaded: _Optional[_Union[LoadedImage, _Mapping]] = ...) -> None: ...

class LoadedImage(_message.Message):
    __slots__ = ("image_id", "reference", "replaced_image_id")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REPLACED_IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    reference: str
    replaced_image_id: str
    def __init__(self, image_id: _Optional[str] = ..., reference: _Optional[str] = ..., replaced_image_id: _Optional[str] = ...) -> None: ...

class SaveRequest(_message.Message):
    __slots__ = ("references", "platform")
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    platform: str
    def __init__(self, references: _Optional[_Iterable[str]] = ..., platform: _Optional[str] = ...) -> None: ...

class SaveResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ReadTreeRequest(_message.Message):
    __slots__ = ("reference", "path", "stat_only")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STAT_ONLY_FIELD_NUMBER: _ClassVar[int]
    reference: str
    path: str
    stat_only: bool
    def __init__(self, reference: _Optional[str] = ..., path: _Optional[str] = ..., stat_only: _Optional[bool] = ...) -> None: ...

class ReadTreeResponse(_message.Message):
    __slots__ = ("path", "data")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    path: TreePath
    data: bytes
    def __init__(self, path: _Optional[_Union[TreePath, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class TreePath(_message.Message):
    __slots__ = ("path", "mode", "missing")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    missing: int
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., missing: _Optional[int] = ...) -> None: ...

class ImageServicePruneRequest(_message.Message):
    __slots__ = ("all", "until", "label_filters")
    ALL_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FILTERS_FIELD_NUMBER: _ClassVar[int]
    all: bool
    until: _timestamp_pb2.Timestamp
    label_filters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, all: _Optional[bool] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., label_filters: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageServicePruneResponse(_message.Message):
    __slots__ = ("removed", "reclaimed_bytes")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    RECLAIMED_BYTES_FIELD_NUMBER: _ClassVar[int]
    removed: _containers.RepeatedCompositeFieldContainer[RemovedImage]
    reclaimed_bytes: int
    def __init__(self, removed: _Optional[_Iterable[_Union[RemovedImage, _Mapping]]] = ..., reclaimed_bytes: _Optional[int] = ...) -> None: ...

class DiskUsageRequest(_message.Message):
    __slots__ = ("containers_only", "container_ids")
    CONTAINERS_ONLY_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    containers_only: bool
    container_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, containers_only: _Optional[bool] = ..., container_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DiskUsageResponse(_message.Message):
    __slots__ = ("layers_bytes", "images", "containers")
    LAYERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    layers_bytes: int
    images: _containers.RepeatedCompositeFieldContainer[ImageSummary]
    containers: _containers.RepeatedCompositeFieldContainer[ContainerDiskUsage]
    def __init__(self, layers_bytes: _Optional[int] = ..., images: _Optional[_Iterable[_Union[ImageSummary, _Mapping]]] = ..., containers: _Optional[_Iterable[_Union[ContainerDiskUsage, _Mapping]]] = ...) -> None: ...

class ContainerDiskUsage(_message.Message):
    __slots__ = ("container_id", "writable_bytes", "root_bytes")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    writable_bytes: int
    root_bytes: int
    def __init__(self, container_id: _Optional[str] = ..., writable_bytes: _Optional[int] = ..., root_bytes: _Optional[int] = ...) -> None: ...

class ImageEvent(_message.Message):
    __slots__ = ("sequence", "time", "kind", "actor_id", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: ImageEventKind
    actor_id: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[ImageEventKind, str]] = ..., actor_id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ImageServiceWatchEventsRequest(_message.Message):
    __slots__ = ("after_sequence", "since", "until")
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, after_sequence: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ImageServiceWatchEventsResponse(_message.Message):
    __slots__ = ("event", "started")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    event: ImageEvent
    started: ImageEventsStarted
    def __init__(self, event: _Optional[_Union[ImageEvent, _Mapping]] = ..., started: _Optional[_Union[ImageEventsStarted, _Mapping]] = ...) -> None: ...

class ImageEventsStarted(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...
