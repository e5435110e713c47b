"""Limits of the size that an image may declare, checked before memory is allocated for its pixels."""

from linnaeus.server.errors import InvalidImage

# The longest side of a JPEG and a GIF, and of a BMP in browsers. Pillow keeps an object for each row: a PNG of
# 1 x 50,000,000 pixels took a gigabyte and three seconds.
MAX_SIDE = 65_535


def check_size(field: str, size: tuple[int, int], max_pixels: int) -> None:
    """Raises InvalidImage if an image is larger than allowed.

    Args:
        field: of the request, which the message names.
        size: width and height in pixels.
        max_pixels: largest allowed width x height.
    """
    width, height = size
    if width * height > max_pixels:
        raise InvalidImage(
            field,
            f"the picture has {width} x {height} = {width * height} pixels, but at most {max_pixels} are allowed: "
            "make it smaller",
        )
    if max(size) > MAX_SIDE:
        raise InvalidImage(
            field,
            f"the picture has {width} x {height} pixels, but a side may have at most {MAX_SIDE}: cut it or make it "
            "smaller",
        )
