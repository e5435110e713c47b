"""An image file is prepared for a network as the server prepares it."""

from pathlib import Path

import numpy
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.registry import find
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage


def test_the_picture_is_what_the_server_would_make_of_it(pictures: Path) -> None:
    for name, file in (("efficientnet_lite0", "coffee.jpg"), ("efficientnet_lite0", "chelsea.jpg"), ("lenet", "4.png")):
        path = pictures / "digits" / file if file.endswith("png") else pictures / file
        spec = find(name).input
        ours = numpy.asarray(load_image(path, spec)).reshape(spec.height, spec.width, -1).astype(int)
        theirs = decode(EncodedImage(path.read_bytes()), spec, 10**8).astype(int)
        assert ours.shape == theirs.shape
        assert numpy.abs(ours - theirs).mean() < 0.5


def test_a_picture_is_turned_upright_and_laid_over_white(tmp_path: Path) -> None:
    spec = InputSpec(channels=3, height=2, width=2, resize=2, interpolation="bilinear")
    stored = Image.new("RGBA", (2, 2), (255, 0, 0, 255))
    stored.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: the first pixel belongs in the right upper corner
    stored.save(tmp_path / "turned.png", exif=exif)
    image = load_image(tmp_path / "turned.png", spec)
    assert [image.getpixel(place) for place in ((1, 0), (0, 0), (0, 1), (1, 1))] == [(255,) * 3] + [(255, 0, 0)] * 3
    assert to_pixels(image)[0, :, 0, 1].tolist() == [255, 255, 255]
