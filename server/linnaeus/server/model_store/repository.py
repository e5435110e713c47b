"""Where the folders of models come from, and what of them a start needs."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.model_folders import ModelFolder, list_model_folders
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.text_files import reason_of

_ZOO_IS_INSTALLED = find_spec("torchvision") is not None  # the extra zoo has it, the extra server has not
ADVICE = (
    "make one with: linnaeus-zoo export lenet efficientnet_lite0"
    if _ZOO_IS_INSTALLED
    else "copy one here, or make one: pip install 'linnaeus[zoo]', then linnaeus-zoo export lenet efficientnet_lite0"
)
# The name of `ModelRepository.follow` in reports of faults.
FOLLOW_PART = "repository_copy"
# Begins the sentence about a start of which no version can be served; the reasons follow.
NO_MODEL = "no model can be served: "


class ModelRepository(Protocol):
    """Where the folders of models come from. The methods that are no coroutines block; any thread may call them."""

    @property
    def name(self) -> str:
        """The repository, as messages name it."""

    @property
    def root(self) -> Path:
        """The folder in which the folders of the models are, or will be."""

    @property
    def statistics(self) -> RepositoryStatistics | None:
        """What was copied; None if nothing is."""

    async def open(self) -> None:
        """Makes readable what the start needs.

        Raises:
            StartupError: if that is impossible.
        """

    async def follow(self, seconds: float, supervisor: Supervisor) -> None:
        """Keeps what is readable up to date until cancelled; returns at once if it always is.

        Args:
            seconds: interval between two looks.
            supervisor: receives faults.
        """

    def folders(self) -> dict[str, ModelFolder]:
        """Returns the model folders by name, also those that must be fetched before they can be read.

        Raises:
            OSError: if they cannot be listed.
        """

    def fetch(self, model: str) -> None:
        """Makes the wanted versions of a model readable, if the repository has the model.

        Raises:
            OSError: if that is impossible and no version of the model is readable; the message is a sentence.
        """


@dataclass(frozen=True, slots=True)
class FolderRepository:
    """A repository on a disk, which has nothing to fetch.

    Attributes:
        root: its folder.
        model_name: as in `list_model_folders`.
    """

    root: Path
    model_name: str = ""

    @property
    def name(self) -> str:
        """The path."""
        return str(self.root)

    @property
    def statistics(self) -> None:
        """None."""

    async def open(self) -> None:
        """Does nothing."""

    async def follow(self, seconds: float, supervisor: Supervisor) -> None:
        """Does nothing."""

    def folders(self) -> dict[str, ModelFolder]:
        """See `ModelRepository`."""
        return list_model_folders(self.root, self.model_name)

    def fetch(self, model: str) -> None:
        """Does nothing."""


def list_at_start(
    repository: ModelRepository, wanted: Set[str] = frozenset(), default_model: str = ""
) -> dict[str, ModelFolder]:
    """Returns the model folders of the repository by name, and checks that those that the settings name are there.

    Skips folders whose names begin with a dot, because they are being written, and everything in a model folder whose
    name is not a positive integer; leading zeros are allowed.

    Args:
        repository: the repository.
        wanted: names of the models to serve; empty for all.
        default_model: name of the default model; empty for none.

    Raises:
        StartupError: if it is not a folder or cannot be read, or a named model is missing.
    """
    name = repository.name
    try:
        if not repository.root.is_dir():
            raise StartupError(f"the model repository {name} is not a folder; {ADVICE}")
        folders = repository.folders()
    except OSError as error:
        raise StartupError(f"the model repository {name} cannot be read: {reason_of(error)}") from None
    missing = wanted - set(folders)
    if missing:
        raise StartupError(f"the model repository {name} has no model {', '.join(sorted(missing))}")
    if default_model and default_model not in folders:
        named = f"{default_model}, which --default-model names"
        raise StartupError(f"the model repository {name} has no model {named}")
    return folders


def wanted_at_start(name: str, folders: Mapping[str, ModelFolder], wanted: Set[str]) -> list[ModelFolder]:
    """Returns the folders to serve that have at least one version, sorted by name.

    Args:
        name: the repository, as messages name it.
        folders: its model folders by name.
        wanted: names of the models to serve; empty for all.

    Raises:
        StartupError: if there is no version at all.
    """
    found = [folder for name, folder in sorted(folders.items()) if folder.versions and name in (wanted or folders)]
    if not found:
        raise StartupError(f"the model repository {name} holds no version folder; {ADVICE}")
    return found
