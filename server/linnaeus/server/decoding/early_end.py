"""Judges a JPEG that ends before its end marker: browsers show what there is, and so much must be there.

libjpeg leaves blocks without data grey. Files miss a few bytes when a camera or a transfer stopped; a file that misses
a part of its picture is refused.
"""

import numpy
from PIL import Image

END_OF_IMAGE = b"\xff\xd9"

# At most a quarter of the pixels of the last quarter may be grey: a sixteenth of the picture.
_PARTS = 4
_GREY = 128
_START_OF_SCAN = b"\xff\xda"


def misses_much(image: Image.Image, data: bytes) -> bool:
    """Returns whether more than a sixteenth of the picture, or all of its first scan's end, is missing.

    Args:
        image: the picture, decoded after `END_OF_IMAGE` was added.
        data: the file without it.
    """
    if "progressive" in image.info and data.count(_START_OF_SCAN) < 2:
        return True  # not even the first of the scans, which has the coarse picture, is complete
    end = image.crop((0, image.height - image.height // _PARTS - 1, image.width, image.height))
    samples = numpy.asarray(end).reshape(end.width * end.height, -1)
    # CMYK is inverted: 127.
    return bool((samples - numpy.uint8(_GREY - 1) <= 1).all(axis=1).mean() > 1 / _PARTS)
