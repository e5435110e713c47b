"""What the servers are compared with: models, images, and the settings with which tritonserver is fastest."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.common.images import PHOTOGRAPHS, digits, photographs
from benchmarks.peers.request_sets import Samples
from benchmarks.peers.triton_repository import Tuning


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and how it is called.

    Attributes:
        version: its version folder in Linnaeus's repository.
        takes_pixels: whether pixels are sent instead of encoded images.
        what: what is sent, as it is printed.
        callers: numbers of callers of single images.
        many: whether messages of several images and streams are compared as well.
        seconds: duration of a measurement.
        tuning: of tritonserver, as `triton_tuning` found it.
    """

    version: Path
    takes_pixels: bool
    what: str
    callers: tuple[int, ...]
    many: bool
    seconds: float
    tuning: Tuning

    @property
    def model(self) -> str:
        """The model's name."""
        return self.version.parent.name


RESNET18 = Workload(
    version=Path("runs/bench/resnet18/1"),
    takes_pixels=False,
    what=PHOTOGRAPHS,
    callers=(1, 16, 64),
    many=False,
    seconds=3.0,
    tuning=Tuning(instances=2, threads=1, decoders=1, form="frozen, channels last", max_batch_size=4),
)
LENET = Workload(
    version=Path("model-repository/lenet/1"),
    takes_pixels=True,
    what="pixels, 784 bytes",
    callers=(1, 64),
    many=True,
    seconds=1.2,
    tuning=Tuning(threads=1, decoders=1, max_batch_size=64),
)
WORKLOADS = (RESNET18, LENET)


def load_samples(workload: Workload, folder: Path) -> Samples:
    """Returns the images of a workload, without their expected classes.

    Args:
        workload: which one.
        folder: for the files of the photographs.
    """
    if workload.takes_pixels:
        pixels = tuple(grey_pixels(path) for path in digits())
        return Samples(workload.model, pixels, (1, 28, 28), ())
    images = tuple(path.read_bytes() for path in photographs(folder))
    return Samples(workload.model, images, None, ())


def grey_pixels(path: Path) -> bytes:
    """Returns the pixels of an image as uint8 [H, W]."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return image.convert("L").tobytes()
