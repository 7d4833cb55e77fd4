"""Progress of a pull or a push as Docker's NDJSON lines."""

from collections.abc import Iterator
from typing import Any

from vic.storage.v1.image_pb2 import (
    LoadedImage,
    Progress,
    ProgressStatus,
    PullResult,
    PushResult,
)

from gateway.translate.references import familiar

_TEXT = {
    ProgressStatus.PROGRESS_STATUS_PULLING_LAYER: "Pulling fs layer",
    ProgressStatus.PROGRESS_STATUS_WAITING: "Waiting",
    ProgressStatus.PROGRESS_STATUS_DOWNLOADING: "Downloading",
    ProgressStatus.PROGRESS_STATUS_VERIFYING_CHECKSUM: "Verifying Checksum",
    ProgressStatus.PROGRESS_STATUS_DOWNLOAD_COMPLETE: "Download complete",
    ProgressStatus.PROGRESS_STATUS_EXTRACTING: "Extracting",
    ProgressStatus.PROGRESS_STATUS_PULL_COMPLETE: "Pull complete",
    ProgressStatus.PROGRESS_STATUS_ALREADY_EXISTS: "Already exists",
    ProgressStatus.PROGRESS_STATUS_PUSHING: "Pushing",
    ProgressStatus.PROGRESS_STATUS_PUSHED: "Pushed",
    ProgressStatus.PROGRESS_STATUS_PREPARING: "Preparing",
    ProgressStatus.PROGRESS_STATUS_LAYER_EXISTS: "Layer already exists",
    ProgressStatus.PROGRESS_STATUS_LOADING_LAYER: "Loading layer",
    ProgressStatus.PROGRESS_STATUS_IMPORTING: "Importing",
}

_BAR = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def progress_line(progress: Progress) -> dict[str, Any]:
    """One line of progress."""
    if progress.status == ProgressStatus.PROGRESS_STATUS_PULLING_FROM:
        return {"status": f"Pulling from {progress.text}", "id": progress.id}
    if progress.status == ProgressStatus.PROGRESS_STATUS_PUSHING_TO:
        return {"status": f"The push refers to repository [{progress.text}]"}
    if progress.status == ProgressStatus.PROGRESS_STATUS_DOWNLOADING_FROM:
        return {"status": f"Downloading from {progress.text}"}
    if progress.status == ProgressStatus.PROGRESS_STATUS_RETRYING:
        status = f"Retrying in {progress.text}"
    elif progress.status == ProgressStatus.PROGRESS_STATUS_MOUNTED:
        status = f"Mounted from {progress.text}"
    else:
        status = _TEXT.get(progress.status, progress.text)
    line: dict[str, Any] = {"status": status, "progressDetail": {}}
    if progress.current_bytes or progress.total_bytes:
        detail = {"current": progress.current_bytes}
        if progress.total_bytes:
            detail["total"] = progress.total_bytes
        line["progressDetail"] = detail
        line["progress"] = progress_bar(progress.current_bytes, progress.total_bytes)
    if progress.id:
        line["id"] = progress.id
    return line


def result_lines(result: PullResult) -> list[dict[str, Any]]:
    """The two lines that end a pull."""
    end = outcome_line(familiar(result.canonical_reference), downloaded=result.downloaded)
    return [{"status": f"Digest: {result.digest}"}, end]


def outcome_line(reference: str, *, downloaded: bool) -> dict[str, Any]:
    """Whether a pull has changed anything."""
    outcome = "Downloaded newer image" if downloaded else "Image is up to date"
    return {"status": f"Status: {outcome} for {reference}"}


def pushed_lines(result: PushResult) -> list[dict[str, Any]]:
    """The two lines that end the push of a tag."""
    size = result.size_bytes
    return [
        {"status": f"{result.tag}: digest: {result.digest} size: {size}"},
        {
            "progressDetail": {},
            "aux": {"Tag": result.tag, "Digest": result.digest, "Size": size},
        },
    ]


def loaded_lines(loaded: LoadedImage) -> Iterator[dict[str, Any]]:
    """The lines that end the loading of an image under a name."""
    if loaded.replaced_image_id:
        yield {
            "stream": f"The image {loaded.reference} already exists, renaming the old one with ID "
            f"{loaded.replaced_image_id} to empty string\n"
        }
    if loaded.reference:
        yield {"stream": f"Loaded image: {loaded.reference}\n"}
    else:
        yield {"stream": f"Loaded image ID: {loaded.image_id}\n"}


def error_line(message: str) -> dict[str, Any]:
    """How work fails that has already begun to answer."""
    return {"errorDetail": {"message": message}, "error": message}


def progress_bar(current: int, total: int) -> str:
    """The bar that older clients print as it comes: ``[==>   ]  1.2MB/4.8MB``."""
    if not total:
        return f"{human_size(current):>8}"
    done = min(current * _BAR // total, _BAR)
    arrow = ">" if done < _BAR else ""
    bar = "=" * done + arrow + " " * (_BAR - done - len(arrow))
    return f"[{bar}] {human_size(current):>8}/{human_size(total)}"


def human_size(size: float) -> str:
    """A size with four significant digits, in powers of a thousand."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:.4g}{unit}"
        size /= 1000
    raise AssertionError("the last unit takes all")
