"""Real pictures through a real server process are classified correctly."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from tests.e2e.forked_server import ForkedServer

from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.registry import find
from linnaeus.models.training import Digits
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Classify = Callable[..., v1.ClassifyResponse]


@pytest.mark.parametrize(
    ("picture", "label", "min_probability"),
    [("coffee.jpg", "espresso", 0.9), ("camera.jpg", "tripod", 0.9), ("chelsea.jpg", "Egyptian cat", 0.0)],
)
def test_photographs_are_classified(
    classify: Classify, pictures: Path, picture: str, label: str, min_probability: float
) -> None:
    answer = classify((pictures / picture).read_bytes())
    assert answer.classes[0].label == label
    assert answer.classes[0].probability >= min_probability
    assert (answer.model, answer.version, len(answer.classes)) == ("efficientnet_lite0", 1, 5)
    probabilities = [each.probability for each in answer.classes]
    assert probabilities == sorted(probabilities, reverse=True)


def test_digits_are_classified(classify: Classify, pictures: Path) -> None:
    paths = sorted((pictures / "digits").glob("*.png"))
    assert [classify(path.read_bytes(), model="lenet").classes[0].label for path in paths] == [p.stem for p in paths]
    assert len(paths) > 3


@pytest.mark.release
def test_mnist_test_digits_are_classified_as_by_the_eager_network(
    stub: ClassifierServiceStub, mnist_test: Digits
) -> None:
    eager = eager_classifier(find("lenet"), find("lenet").bundled_weights())
    with torch.inference_mode():
        expected = eager(mnist_test.pixels).argmax(1)
    request = [v1.ClassifyRequest(image=v1.Image(encoded=png), model="lenet", top_k=1) for png in _pngs(mnist_test)]
    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(lambda each: stub.Classify(each, timeout=60).classes[0].index, request))
    assert len(answers) == 10_000
    assert answers == expected.tolist()
    assert (torch.tensor(answers) == mnist_test.classes).float().mean() >= 0.99


def _pngs(digits: Digits) -> Iterator[bytes]:
    for pixels in digits.pixels:
        file = io.BytesIO()
        Image.fromarray(pixels[0].numpy()).save(file, "PNG")
        yield file.getvalue()


@pytest.mark.parametrize("name", ["lenet", "efficientnet_lite0"])
def test_served_probabilities_equal_the_eager_network_on_the_same_pixels(
    stub: ClassifierServiceStub, name: str
) -> None:
    model = find(name)
    spec, classes = model.input, len(model.labels())
    shape = (spec.height, spec.width, spec.channels)
    pixels = numpy.random.default_rng(3).integers(0, 256, shape, numpy.uint8)
    raw = v1.RawPixels(data=pixels.tobytes(), height=shape[0], width=shape[1], channels=shape[2])
    request = v1.ClassifyRequest(image=v1.Image(pixels=raw), model=name, top_k=classes)
    with torch.inference_mode():
        expected = eager_classifier(model, model.bundled_weights())(torch.from_numpy(pixels)[None].permute(0, 3, 1, 2))[
            0
        ].tolist()
    served = {each.index: each.probability for each in stub.Classify(request, timeout=30).classes}
    assert max(abs(served[index] - expected[index]) for index in range(classes)) < 1e-5


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    return _encode(image, "JPEG", quality=92, **options)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed rotated by 90 degrees clockwise
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _sixteen_bits(image: Image.Image) -> bytes:
    grey = numpy.asarray(image.convert("L")).astype(numpy.uint16) * 257
    return _encode(Image.fromarray(grey), "PNG")


FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "CMYK JPEG": lambda image: _jpeg(image.convert("CMYK")),
    "16-bit PNG": _sixteen_bits,
    "greyscale": lambda image: _jpeg(image.convert("L")),
    "alpha": lambda image: _encode(image.convert("RGBA"), "PNG"),
    "palette": lambda image: _encode(image.quantize(256), "PNG"),
    "animated GIF": lambda image: _encode(
        image, "GIF", save_all=True, append_images=[Image.new("RGB", image.size, "red")]
    ),
    "WebP": lambda image: _encode(image, "WEBP", quality=95),
    "EXIF-rotated JPEG": _rotated,
}


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_is_classified_alike_in_every_format(classify: Classify, pictures: Path, image_format: str) -> None:
    with Image.open(pictures / "coffee.jpg") as image:
        image.load()
    plain = classify(_encode(image, "PNG")).classes[0]
    stored = classify(FORMATS[image_format](image)).classes[0]
    assert stored.label == plain.label == "espresso"
    assert abs(stored.probability - plain.probability) < 0.15


@pytest.mark.slow
def test_a_full_batch_returns_the_same_probabilities_as_single_images(repository: Path, pictures: Path) -> None:
    files = [(pictures / name).read_bytes() for name in ("coffee.jpg", "camera.jpg", "chelsea.jpg", "coffee.jpg")]
    options = ["--max-batch-size", "4", "--models", "efficientnet_lite0", "--max-queue-delay-seconds"]

    def top(answer: v1.ClassifyResponse) -> tuple[int, float]:
        return answer.classes[0].index, answer.classes[0].probability

    def classify_all(server: ServerProcess, concurrency: int) -> list[v1.ClassifyResponse]:
        import grpc

        with grpc.insecure_channel(server.target) as channel, ThreadPoolExecutor(concurrency) as callers:
            stub = ClassifierServiceStub(channel)
            requests = [v1.ClassifyRequest(image=v1.Image(encoded=file)) for file in files]
            return list(callers.map(lambda each: stub.Classify(each, timeout=60), requests))

    with ForkedServer("--repository", str(repository), *options, "0") as server:
        alone = classify_all(server, 1)
    with ForkedServer("--repository", str(repository), *options, "30") as server:
        together = classify_all(server, 4)
    assert [answer.batch_size for answer in alone] == [1] * 4
    assert [answer.batch_size for answer in together] == [4] * 4
    for one, other in zip(alone, together, strict=True):
        assert top(one)[0] == top(other)[0] and abs(top(one)[1] - top(other)[1]) < 1e-5
