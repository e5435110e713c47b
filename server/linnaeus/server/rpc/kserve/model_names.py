"""Which model version a name means, and as which input.

The protocol's clients rely on a model that has exactly one input, so every model goes by two names: NAME takes encoded
pictures, NAME.pixels takes pixels of the model's own size. Whoever calls a model `something.pixels` keeps that name for
it, and loses the second name of a model `something`.
"""

from typing import NamedTuple

from linnaeus.models.manifest import Manifest
from linnaeus.server.model_store.catalog import Catalog, Entry

PIXELS_SUFFIX = ".pixels"


class ServedModel(NamedTuple):
    """A version that is served, under the name that it was asked for.

    Attributes:
        name: NAME or NAME.pixels.
        takes_pixels: whether its input is pixels, not encoded pictures.
        entry: the version.
        manifest: what is known of it.
    """

    name: str
    takes_pixels: bool
    entry: Entry
    manifest: Manifest

    @property
    def version(self) -> str:
        """As the protocol writes it."""
        return str(self.entry.version)

    @property
    def input_name(self) -> str:
        """Of its one input."""
        return "pixels" if self.takes_pixels else "image"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of one image in its input: [C, H, W] of pixels, [1] of an encoded picture.

        Nothing would do for a picture, and [n] is taken as [n, 1] is; but perf_analyzer sends no input whose images
        have no shape.
        """
        spec = self.manifest.input
        return (spec.channels, spec.height, spec.width) if self.takes_pixels else (1,)


def engine_model_name(catalog: Catalog, name: str) -> str:
    """The engine's name of the model that is meant."""
    plain = name.removesuffix(PIXELS_SUFFIX)
    return name if not plain or catalog.knows(name) else plain


def resolve(catalog: Catalog, name: str, version: str) -> ServedModel:
    """Returns what is to answer a request.

    Raises:
        Unavailable, ModelNotFound, InvalidArgument: as `Catalog.resolve`.
    """
    model = engine_model_name(catalog, name)
    entry, served = catalog.resolve(model, version)
    return ServedModel(name or entry.name, model != name, entry, served.manifest)
