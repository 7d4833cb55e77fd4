import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Disk(_message.Message):
    __slots__ = ("container_id", "image_id", "chain_id", "chain", "virtual_size_bytes", "specification", "created_at")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    VIRTUAL_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    image_id: str
    chain_id: str
    chain: _containers.RepeatedScalarFieldContainer[str]
    virtual_size_bytes: int
    specification: bytes
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, container_id: _Optional[str] = ..., image_id: _Optional[str] = ..., chain_id: _Optional[str] = ..., chain: _Optional[_Iterable[str]] = ..., virtual_size_bytes: _Optional[int] = ..., specification: _Optional[bytes] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("container_id", "image", "specification")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    image: str
    specification: bytes
    def __init__(self, container_id: _Optional[str] = ..., image: _Optional[str] = ..., specification: _Optional[bytes] = ...) -> None: ...

class PrepareResponse(_message.Message):
    __slots__ = ("disk",)
    DISK_FIELD_NUMBER: _ClassVar[int]
    disk: Disk
    def __init__(self, disk: _Optional[_Union[Disk, _Mapping]] = ...) -> None: ...

class DiskServiceGetRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class DiskServiceGetResponse(_message.Message):
    __slots__ = ("disk",)
    DISK_FIELD_NUMBER: _ClassVar[int]
    disk: Disk
    def __init__(self, disk: _Optional[_Union[Disk, _Mapping]] = ...) -> None: ...

class DiskServiceListRequest(_message.Message):
    __slots__ = ("page_token",)
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_token: str
    def __init__(self, page_token: _Optional[str] = ...) -> None: ...

class DiskServiceListResponse(_message.Message):
    __slots__ = ("disks", "next_page_token")
    DISKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    disks: _containers.RepeatedCompositeFieldContainer[Disk]
    next_page_token: str
    def __init__(self, disks: _Optional[_Iterable[_Union[Disk, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PutSpecificationRequest(_message.Message):
    __slots__ = ("container_id", "specification")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    specification: bytes
    def __init__(self, container_id: _Optional[str] = ..., specification: _Optional[bytes] = ...) -> None: ...

class PutSpecificationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DiskServiceRemoveRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class DiskServiceRemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
