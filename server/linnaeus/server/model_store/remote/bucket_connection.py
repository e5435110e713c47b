"""The connection to a bucket, which is made anew after a failure so that new credentials are read."""

from collections.abc import Callable

from linnaeus.server.config.repository_url import RepositoryUrl
from linnaeus.server.model_store.remote.bucket import Bucket


class BucketConnection:
    """Connects when the bucket is first asked for. Belongs to the copying thread.

    Args:
        url: of the repository.
        open_bucket: connects.
    """

    def __init__(self, url: RepositoryUrl, open_bucket: Callable[[RepositoryUrl], Bucket]) -> None:
        self._url = url
        self._open_bucket = open_bucket
        self._bucket: Bucket | None = None

    @property
    def bucket(self) -> Bucket:
        """The bucket.

        Raises:
            BucketError: if it cannot be connected to.
        """
        self._bucket = self._bucket or self._open_bucket(self._url)
        return self._bucket

    def close(self) -> None:
        """Has the next use connect anew."""
        self._bucket = None
