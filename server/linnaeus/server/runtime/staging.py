"""Copies the images of a batch into one contiguous buffer."""

from collections.abc import Sequence

from linnaeus.server.runtime.runner import Pixels

# numpy releases the interpreter lock for every copy. For a small image that costs more than the copy: a thread that
# waits for the lock wakes up needlessly.
_SMALL_BYTES = 1 << 14


def stage(images: Sequence[Pixels], rows: Pixels) -> None:
    """Copies the images into the first rows.

    Args:
        images: uint8 [H, W, C] each; not more than there are rows.
        rows: uint8 [N, H, W, C], C-contiguous.

    Raises:
        ValueError: if an image has another shape, or there are too many.
    """
    size, shape = rows[0].nbytes, rows.shape[1:]
    if size > _SMALL_BYTES or not all(image.flags.c_contiguous and image.shape == shape for image in images):
        for row, image in zip(rows[: len(images)], images, strict=True):
            row[:] = image
        return
    memory = rows.data.cast("B")
    for place, image in enumerate(images):
        memory[place * size : (place + 1) * size] = image.data.cast("B")
