"""The checks of the settings against this machine, before torch is imported: they take a fraction of its seconds.

Everything that they find would end the start anyway, later and after lines of log. What only torch knows, such as
whether a GPU is there, is found afterwards. This module must not import torch, nor what imports it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from linnaeus.models.manifest import LABELS_FILE, MANIFEST_FILE, ManifestError, check_name, read_labels, read_manifest
from linnaeus.server.config.model_settings import CONFIG_FILE, model_settings
from linnaeus.server.config.repository_url import repository_url
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ModelRefused, StartupError
from linnaeus.server.model_store import repository
from linnaeus.server.model_store.model_folders import ModelFolder, VersionFolder
from linnaeus.server.model_store.remote.remote_repository import check_copy
from linnaeus.server.model_store.repository import FolderRepository
from linnaeus.server.observability.telemetry import require_url
from linnaeus.server.requests.event_log import cannot_write
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.reserved_port import ReservedPort
from linnaeus.server.security.server_security import server_security


def check_start(settings: Settings) -> None:
    """Checks that the files that the settings name can be used, the ports are free, and a model can be served.

    Changes nothing: ports that were taken for the check are given back.

    Raises:
        StartupError: if the server cannot start.
    """
    security = server_security(settings)
    for address in filter(None, (security.address, security.health)):
        ReservedPort(address).release()
    if security.http is not None:
        ReservedPort(security.http, "HTTP").release()
    ReservedPort(Address(settings.metrics_host, settings.metrics_port), "the metrics").release()
    if settings.trace:
        _require_writable(Path(settings.trace))
    if settings.otel_endpoint:
        require_url(settings.otel_endpoint)
    if settings.model_name:
        _require_name(settings.model_name)
    if repository_url(settings.repository) is None:
        _check_folder(FolderRepository(Path(settings.repository), settings.model_name), settings)
    elif settings.model_name:
        raise StartupError("--model-name is for a folder, but --repository is a URL; leave it out")
    else:
        check_copy(settings)


def _check_folder(folder: FolderRepository, settings: Settings) -> None:
    folders = repository.list_at_start(folder, settings.wanted_models, settings.default_model)
    if settings.model_control != "explicit":
        _require_a_model(repository.wanted_at_start(folder.name, folders, settings.wanted_models), settings)


def _require_name(model_name: str) -> None:
    try:
        check_name(model_name)
    except ValueError as error:
        raise StartupError(f"--model-name: {error}") from None


def _require_writable(path: Path) -> None:
    """Checks that the event log can be opened; neither makes the file nor replaces it. A pipe is left alone."""
    try:
        if path.is_file() or path.is_dir():
            path.open("ab").close()
        elif not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
            number = errno.EACCES if path.parent.is_dir() else errno.ENOENT
            raise OSError(number, os.strerror(number))
    except OSError as error:
        raise cannot_write(path, error) from None


def _require_a_model(folders: list[ModelFolder], settings: Settings) -> None:
    """Checks that the text files of one version at least are right; the same sentence follows if no model loads."""
    refusals: list[str] = []
    for folder, version in _versions(folders):
        reason = _refusal(folder, version, settings)
        if not reason:
            return
        refusals.append(f"{folder.name}/{version.version}: {reason}")
    raise StartupError(repository.NO_MODEL + "; ".join(refusals))


def _versions(folders: list[ModelFolder]) -> Iterator[tuple[ModelFolder, VersionFolder]]:
    for folder in folders:
        for version in folder.versions.values():
            yield folder, version


def _refusal(folder: ModelFolder, version: VersionFolder, settings: Settings) -> str:
    """Returns why the version would be refused by its text files; empty if they are right, or one is no plain file."""
    files = (folder.path / CONFIG_FILE, version.path / MANIFEST_FILE, version.path / LABELS_FILE)
    if any(map(_may_block, files)):
        return ""
    try:
        model_settings(folder.path, settings)
        read_labels(version.path, read_manifest(version.path).classes)
    except (ModelRefused, ManifestError) as error:
        return str(error)
    return ""


def _may_block(path: Path) -> bool:
    """Returns whether reading may wait for ever, as from a pipe: here no probe would be answered meanwhile."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
