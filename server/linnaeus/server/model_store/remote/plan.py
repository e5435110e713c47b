"""Decides which versions to fetch, which to remove, and which to evict for lack of space. Pure."""

from collections.abc import Iterable, Mapping, Sequence, Set

from linnaeus.server.config.version_policy import VersionPolicy
from linnaeus.server.model_store.remote.listing import VersionKey


def wanted_versions(policy: VersionPolicy, there: Iterable[int], refused: Set[int]) -> list[int]:
    """Returns the versions of a model to have, the first to be fetched first.

    They are those that the reconciler loads: it goes down to an older version where a newer one is refused.

    Args:
        policy: the model's.
        there: versions in the bucket.
        refused: versions that are not complete, or were refused when they were fetched or loaded.
    """
    wanted: list[int] = []
    for version in policy.candidates(there):
        if policy.is_enough(len(set(wanted) - refused)):
            break
        wanted.append(version)
    return wanted


def removable(copied: Set[VersionKey], listed: Set[VersionKey], missing_before: Set[VersionKey]) -> set[VersionKey]:
    """Returns the copied versions that the bucket no longer has: neither this listing nor the one before has them."""
    return set(copied - listed) & missing_before


def versions_to_evict(
    needed_bytes: int, free_bytes: int, unwanted: Mapping[VersionKey, int]
) -> Sequence[VersionKey] | None:
    """Returns the versions to remove so that there is enough space; None if removing all is not enough.

    Args:
        needed_bytes: what is to be written.
        free_bytes: what may be written as it is.
        unwanted: bytes of the versions that are neither wanted nor served.
    """
    chosen: list[VersionKey] = []
    for version in sorted(unwanted, key=lambda key: (key[1], key[0])):
        if needed_bytes <= free_bytes:
            break
        free_bytes += unwanted[version]
        chosen.append(version)
    return chosen if needed_bytes <= free_bytes else None
