"""The limits of open files and connections."""

import resource

# Descriptors for models, logs, metrics, probes and libraries, which callers' connections must not use up.
_RESERVED_FILES = 256
# The limit if the system sets none.
_MAX_OPEN_FILES = 1 << 20


def raise_open_file_limit() -> int:
    """Raises the soft limit of open files to the hard limit, or to 2**20 if that is infinite, and returns it.

    The usual soft limit of 1024 protects programs that call `select`; this server does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def connection_limit(open_file_limit: int) -> int:
    """Returns the maximum number of connections under a limit of open files."""
    return max(open_file_limit - _RESERVED_FILES, open_file_limit // 2, 1)
