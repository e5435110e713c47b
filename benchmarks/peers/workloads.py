"""What the servers are compared with: models, pictures, and the settings that serve tritonserver best."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.common.images import digits, photographs
from benchmarks.peers.request_bodies import Subject
from benchmarks.peers.triton_repository import Tuning


@dataclass(frozen=True, slots=True)
class Contest:
    """A model and how it is compared.

    Attributes:
        version: its version folder in Linnaeus's repository.
        takes_pixels: whether pixels are sent, not encoded pictures.
        what: is sent, as it is printed.
        callers: of single images, in turn.
        many: whether batches and streams are compared as well.
        seconds: how long a spell is, once every caller has had an answer.
        tuning: how tritonserver runs it; `peers_tuning` found it.
    """

    version: Path
    takes_pixels: bool
    what: str
    callers: tuple[int, ...]
    many: bool
    seconds: float
    tuning: Tuning


RESNET18 = Contest(
    version=Path("runs/bench/resnet18/1"),
    takes_pixels=False,
    what="JPEG 500x375",
    callers=(1, 16, 64),
    many=False,
    seconds=1.3,
    tuning=Tuning(instances=2, threads=1, decoders=1, form="frozen, channels last", max_batch_size=4),
)
LENET = Contest(
    version=Path("model-repository/lenet/1"),
    takes_pixels=True,
    what="pixels, 784 bytes",
    callers=(1, 64),
    many=True,
    seconds=0.8,
    tuning=Tuning(threads=1, decoders=1, max_batch_size=64),
)
CONTESTS = (RESNET18, LENET)


def subject_of(contest: Contest, folder: Path) -> Subject:
    """The model's pictures; the best classes are yet to be found.

    Args:
        contest: which.
        folder: for the photographs' files.
    """
    if contest.takes_pixels:
        pixels = tuple(_grey(path) for path in digits())
        return Subject(contest.version.parent.name, pixels, (1, 28, 28), ())
    pictures = tuple(path.read_bytes() for path in photographs(folder))
    return Subject(contest.version.parent.name, pictures, None, ())


def _grey(path: Path) -> bytes:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return image.convert("L").tobytes()
