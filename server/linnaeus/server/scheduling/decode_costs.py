"""How long decoding an image takes, estimated from what its header says."""

from typing import NamedTuple

from linnaeus.server.scheduling.recent_ratio import RecentRatio

# What is assumed of a kind that was not decoded lately: about a JPEG photograph on one core. It need not be exact.
_SECONDS_PER_IMAGE = 5e-5
_SECONDS_PER_PIXEL = 1e-8


class DecodeWork(NamedTuple):
    """What an image's header says of the work of decoding it.

    Attributes:
        kind: what the cost of a pixel depends on: the format, its coding and the scaled decode; one of a few.
        pixels: width times height.
    """

    kind: str
    pixels: int

    @property
    def assumed_seconds(self) -> float:
        """The processor seconds that are assumed without any measurement."""
        return _SECONDS_PER_IMAGE + self.pixels * _SECONDS_PER_PIXEL


UNKNOWN_WORK = DecodeWork("unknown", 1_000_000)


class DecodeCosts:
    """Processor seconds of decoding: what is assumed, times how measurements compared with that lately.

    Ratios are kept by kind and by size, in classes of a factor of four, because small images cost more for a pixel. So
    what a sender's images cost changes no estimate for images of another kind or size. The number of bytes plays no
    part: 34 bytes can hold 50 megapixels.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, int], RecentRatio] = {}

    def expected(self, work: DecodeWork, now: float) -> float:
        """Returns the processor seconds that decoding is expected to take."""
        ratio = self._ratios.get(_size_class(work))
        return work.assumed_seconds * (1.0 if ratio is None else ratio.quantile(0.5, now))

    def is_measured(self, work: DecodeWork) -> bool:
        """Whether an image of this kind and size was ever decoded."""
        return _size_class(work) in self._ratios

    def observe(self, work: DecodeWork, seconds: float, now: float) -> None:
        """Records the processor seconds that decoding took."""
        self._ratio(work).observe(seconds / work.assumed_seconds, now)

    def replace(self, work: DecodeWork, seconds: float, now: float) -> None:
        """Forgets what was learnt of such images but for this measurement."""
        self._ratio(work).replace(seconds / work.assumed_seconds, now)

    def _ratio(self, work: DecodeWork) -> RecentRatio:
        size_class = _size_class(work)
        ratio = self._ratios.get(size_class)
        if ratio is None:
            ratio = self._ratios[size_class] = RecentRatio()
        return ratio


def _size_class(work: DecodeWork) -> tuple[str, int]:
    return work.kind, work.pixels.bit_length() // 2
