"""Resolution of the protocol's model names to model versions and inputs.

The protocol's clients expect a model to have exactly one input, so every model has two names: NAME takes encoded
images, NAME.pixels takes pixels of the model's input size. If the repository contains a model that is called
`something.pixels`, the name stands for that model, and the pixels of a model `something` have no name.
"""

from typing import NamedTuple

from linnaeus.models.manifest import Manifest
from linnaeus.server.model_store.catalog import Catalog, Entry

PIXELS_SUFFIX = ".pixels"


class ServedModel(NamedTuple):
    """A served version, under the requested name.

    Attributes:
        name: NAME or NAME.pixels.
        takes_pixels: whether the input is pixels rather than encoded images.
        entry: the version's catalog entry.
        manifest: the version's manifest.
    """

    name: str
    takes_pixels: bool
    entry: Entry
    manifest: Manifest

    @property
    def version(self) -> str:
        """The version as the protocol's string."""
        return str(self.entry.version)

    @property
    def input_name(self) -> str:
        """The name of the input."""
        return "pixels" if self.takes_pixels else "image"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image in the input: [C, H, W] for pixels, [1] for an encoded image.

        An encoded image could have the shape [], and [n] is accepted as well as [n, 1]; but perf_analyzer does not send
        inputs whose images have no dimension.
        """
        spec = self.manifest.input
        return (spec.channels, spec.height, spec.width) if self.takes_pixels else (1,)


def engine_model_name(catalog: Catalog, name: str) -> str:
    """Returns the model's name in the engine's catalog."""
    base_name = name.removesuffix(PIXELS_SUFFIX)
    return name if not base_name or catalog.knows(name) else base_name


def resolve(catalog: Catalog, name: str, version: str) -> ServedModel:
    """Returns the version that answers a request.

    Raises:
        Unavailable: as `Catalog.resolve`.
        ModelNotFound: as `Catalog.resolve`.
        InvalidArgument: as `Catalog.resolve`.
    """
    model = engine_model_name(catalog, name)
    entry, served = catalog.resolve(model, version)
    return ServedModel(name or entry.name, model != name, entry, served.manifest)
