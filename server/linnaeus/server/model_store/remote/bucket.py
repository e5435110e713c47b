"""Reads a bucket or a website by fsspec: lists it, and reads parts of its files. Blocks; belongs to one thread.

fsspec and the provider's library are imported when the first listing is made: by a thread of low priority, whose
priority their own threads inherit.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any
from urllib.parse import quote, unquote

from linnaeus.server.config.repository_url import RepositoryUrl
from linnaeus.server.model_store.remote.errors import BucketError, VersionRefused, reading
from linnaeus.server.model_store.remote.listing import Listing, RemoteFile, RemoteVersion, listing_of

CHUNK_BYTES = 8 << 20
_CONNECT_SECONDS = 5
# Without a byte; a link that is slow may take as long as it needs.
_READ_SECONDS = 20
_LISTING_SECONDS = 60
# Where providers say that an object changed; the first that there is, so that those of its content come first.
_STAMPS = (
    *("ETag", "md5Hash", "blob_id", "etag", "generation", "Content-MD5", "Digest"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created"),
)
_LONGEST_STAMP = 200
# At level debug they log headers, with what proves who the server is.
_TALKATIVE = (
    *("aiobotocore", "aiohttp", "azure", "botocore", "adlfs", "fsspec", "gcsfs", "google", "httpcore", "httpcore2"),
    *("httpx", "httpx2", "huggingface_hub", "msal", "s3fs", "urllib3"),
)


def open_bucket(url: RepositoryUrl) -> "Bucket":
    """Opens the bucket or website of a URL, with the credentials of the provider's environment. Connects to nothing.

    Raises:
        BucketError: if the provider's library refuses it, as for a wrong environment.
    """
    import fsspec  # a provider's library takes a second to import, and most servers have their models on a disk

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with reading(url):
        file_system, root = fsspec.core.url_to_fs(url.text, skip_instance_cache=True, **_options(url.scheme))
    if url.scheme == "https":
        return Website(url, file_system, url.text)
    return Bucket(url, file_system, root)


def _options(scheme: str) -> dict[str, Any]:
    """Returns the options of a provider's file system: no cache of listings, and no waiting for ever."""
    cache = {"use_listings_cache": False}
    if scheme == "s3":
        times = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS}
        return cache | {"config_kwargs": times | {"retries": {"max_attempts": 2}}}
    if scheme == "https":
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
        return cache | {"simple_links": False, "client_kwargs": {"timeout": timeout, "trust_env": True}}
    return cache


class Bucket:
    """A repository in an object store, all of whose objects are listed by one request for each thousand.

    Args:
        url: of the repository, for messages.
        file_system: fsspec's.
        root: the repository, as the file system names it.
    """

    def __init__(self, url: RepositoryUrl, file_system: Any, root: str) -> None:
        self._url = url
        self._file_system = file_system
        self._root = root.rstrip("/")

    def list(self, models: Set[str] = frozenset()) -> Listing:
        """Returns what the bucket has.

        Args:
            models: names of the models to look for; empty for all.

        Raises:
            BucketError: if it cannot be listed, or has too many objects.
        """
        with reading(self._url):
            return listing_of(self._objects(models))

    def look(self, version: RemoteVersion) -> RemoteVersion:
        """Returns a version with its files as they are now.

        Raises:
            BucketError: if they cannot be listed.
        """
        with reading(self._url):
            files = self._found(f"{version.model}/{version.folder}")
            listed = listing_of((f"{version.model}/{version.folder}/{name}", file) for name, file in files)
        model = listed.models.get(version.model)
        gone = RemoteVersion(version.model, version.number, version.folder)
        return model.versions.get(version.number, gone) if model else gone

    def stat(self, file: RemoteFile) -> RemoteFile:
        """Returns a file with its size and stamp."""
        return file

    def read(self, file: RemoteFile, most_bytes: int) -> bytes:
        """Returns a small file.

        Raises:
            VersionRefused: if it has more than `most_bytes`, or no size.
            BucketError: if it cannot be read.
        """
        size = self._size(file, most_bytes)
        with reading(self._url):
            return self._exactly(self._file_system.cat_file(file.place), size)

    def read_on(self, file: RemoteFile, start: int) -> bytes:
        """Returns the next `CHUNK_BYTES` of a file, fewer at its end, or all that follows where a website has no parts.

        Raises:
            BucketError: if they cannot be read, or fewer or more come.
        """
        size = file.size or 0
        end = min(start + CHUNK_BYTES, size)
        with reading(self._url):
            content: bytes = self._file_system.cat_file(file.place, start=start, end=end)
            return content[start:] if len(content) == size else self._exactly(content, end - start)

    def _size(self, file: RemoteFile, most_bytes: int) -> int:
        if file.size is None or file.size > most_bytes:
            said = "does not say its size" if file.size is None else f"has {file.size} bytes"
            raise VersionRefused(f"{said}, but must have {most_bytes} bytes at most")
        return file.size

    def _exactly(self, content: bytes, size: int) -> bytes:
        if len(content) != size:
            raise BucketError(f"{len(content)} bytes of {size} came")
        return content

    def _objects(self, models: Set[str]) -> Iterator[tuple[str, RemoteFile | None]]:
        for model in sorted(models) if models else [""]:
            prefix = f"{model}/" if model else ""
            yield from ((prefix + name, file) for name, file in self._found(model))

    def _found(self, folder: str) -> Iterable[tuple[str, RemoteFile | None]]:
        """Returns all objects below a folder, named relatively to it."""
        place = f"{self._root}/{folder}" if folder else self._root
        found: Mapping[str, Mapping[str, Any]] = self._find(place)
        prefix = self._file_system._strip_protocol(place).rstrip("/") + "/"
        for name, details in found.items():
            if name.startswith(prefix) and details.get("type") == "file":
                yield name.removeprefix(prefix), _file(name, details)

    def _find(self, place: str) -> Mapping[str, Mapping[str, Any]]:
        self._file_system.invalidate_cache()
        if not self._file_system.async_impl:
            return self._file_system.find(place, detail=True)  # type: ignore[no-any-return]
        from fsspec.asyn import sync

        return sync(  # type: ignore[no-any-return]
            self._file_system.loop, self._file_system._find, place, detail=True, timeout=_LISTING_SECONDS
        )


class Website(Bucket):
    """A repository on a website, whose folders are pages with links.

    A listing looks at the pages of the repository and of its models: whether a version is complete, and of what size
    its files are, is asked when it is fetched. Only the size and the date or the ETag of each config.toml are asked
    every time.
    """

    def stat(self, file: RemoteFile) -> RemoteFile:
        """See `Bucket`; asks the website."""
        with reading(self._url):
            return _file(file.place, self._file_system.info(file.place))

    def look(self, version: RemoteVersion) -> RemoteVersion:
        """See `Bucket`."""
        found = super().look(version)
        files = {name: self.stat(file) for name, file in found.files.items()}
        return RemoteVersion(version.model, version.number, version.folder, files)

    def _objects(self, models: Set[str]) -> Iterator[tuple[str, RemoteFile | None]]:
        for model in sorted(models) if models else self._folders(""):
            for name in self._links(model):
                is_folder = name.endswith("/")
                yield f"{model}/{name.rstrip('/')}", None if is_folder else RemoteFile(self._place(f"{model}/{name}"))

    def _found(self, folder: str) -> Iterable[tuple[str, RemoteFile | None]]:
        return [(name, RemoteFile(self._place(f"{folder}/{name}"))) for name in self._links(folder) if name[-1] != "/"]

    def _folders(self, folder: str) -> list[str]:
        return [name[:-1] for name in self._links(folder) if name.endswith("/")]

    def _links(self, folder: str) -> list[str]:
        """Returns what is in a folder, with a slash behind the names of folders."""
        place = self._place(f"{folder}/" if folder else "")
        try:
            found = self._file_system.ls(place, detail=False)
        except FileNotFoundError:
            if not folder:
                raise
            return []  # of --models, one that is not there
        names = {unquote(each.removeprefix(place)) for each in found if each.startswith(place)}
        return sorted(name for name in names if name and "/" not in name[:-1] and name.isprintable())

    def _place(self, name: str) -> str:
        return f"{self._root}/{quote(name)}"


def _file(place: str, details: Mapping[str, Any]) -> RemoteFile:
    size = details.get("size")
    stamp = next((f"{key}={details[key]}" for key in _STAMPS if details.get(key)), "")
    is_size = isinstance(size, int) and size >= 0
    return RemoteFile(place, size if is_size else None, stamp[:_LONGEST_STAMP])
