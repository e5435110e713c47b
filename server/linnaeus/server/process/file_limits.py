"""How many files and connections the process may have open."""

import resource

# For models, logs, metrics, probes and whatever libraries open: callers' connections must never take these.
_OWN = 256
# Where the system sets no bound of its own.
_MOST = 1 << 20


def raise_open_file_limit() -> int:
    """Raises the limit of open files as far as the system lets it, and returns it.

    The usual 1024 is kept low for programs that call `select`; nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def connection_limit(limit: int) -> int:
    """Returns how many of so many open files may be connections."""
    return max(limit - _OWN, limit // 2, 1)
