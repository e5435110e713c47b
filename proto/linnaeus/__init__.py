"""Linnaeus: the contract, the server, the client and the zoo. In a checkout each has a folder of its own.

`__version__` is the version of the installed distribution.
"""

from pkgutil import extend_path

# In a checkout, proto/, server/, client/ and models/ are on the path, each with a part of this package.
__path__ = extend_path([], __name__) or __path__


def __getattr__(name: str) -> str:
    """Returns `__version__`, which is read when it is asked for: most imports do not need it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # code that was copied, not installed
        return "unknown"
