"""What the copying of a repository into a folder has done, for the metrics."""

from dataclasses import dataclass


@dataclass(slots=True)
class RepositoryStatistics:
    """Counts of one process. The copying thread writes; any thread may read.

    Attributes:
        is_followed: whether the repository is listed again and again.
        versions: versions that were copied.
        bytes: bytes of them that came, also of attempts that failed.
        failures: listings, versions and files config.toml that could not be read or were refused.
        succeeded_at: when the repository was last listed, in seconds since 1970; 0.0 for never.
        copy_bytes: bytes of the copy.
    """

    is_followed: bool = True
    versions: int = 0
    bytes: int = 0
    failures: int = 0
    succeeded_at: float = 0.0
    copy_bytes: int = 0
