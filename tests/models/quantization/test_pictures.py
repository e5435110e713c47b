"""Pictures for quantization come from a folder, a folder for each class, or MNIST, as the server would prepare them."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.models.quantization.pictures import DigitPictures, PictureFiles, read_pictures

SPEC = InputSpec(channels=3, height=4, width=6, resize=8, interpolation="bilinear")
LABELS = ("cat", "dog", "crane", "crane")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes a picture for each path, of a gray that is its place."""

    def write(*names: str) -> Path:
        for place, name in enumerate(names):
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numpy.full((20, 30, 3), place, numpy.uint8)).save(path)
        return tmp_path / "pictures"

    return write


def test_a_folder_of_pictures_has_no_labels_and_each_is_prepared_for_the_model(make: Callable[..., Path]) -> None:
    divided = read_pictures(make("a.png", "b.png", "c.png"), LABELS, SPEC)
    assert divided.held_out.classes is None and len(divided.calibration) == 1 and len(divided.held_out) == 2
    pixels = [side.pixels(0, len(side)) for side in (divided.calibration, divided.held_out)]
    assert [tuple(each.shape) for each in pixels] == [(1, 3, 4, 6), (2, 3, 4, 6)]
    assert sorted(value for each in pixels for value in each[:, 0, 0, 0].tolist()) == [0, 1, 2]


def test_folders_by_label_or_index_are_classes(make: Callable[..., Path]) -> None:
    folder = make("cat/a.png", "dog/b.png", "3/c.png", "dog/d.png", ".cache/e.png")
    held_out = read_pictures(folder, LABELS, SPEC, held_out="3").held_out
    assert isinstance(held_out, PictureFiles) and held_out.classes is not None
    expected = {"cat": 0, "dog": 1, "3": 3}
    assert held_out.classes.tolist() == [expected[path.parent.name] for path in held_out.paths]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bird", "has the name of no class; name it as in labels.txt, or 0 to 3"),
        ("4", "has the name of no class"),
        ("crane", "'crane' is the label of 2 classes; name .* by the class's index"),
    ],
)
def test_a_folder_that_stands_for_no_single_class_is_refused(
    make: Callable[..., Path], name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_pictures(make(f"{name}/a.png", "cat/b.png"), LABELS, SPEC)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="there are no pictures in"):
        read_pictures(tmp_path, LABELS, SPEC)


def test_of_mnist_training_digits_calibrate_and_all_test_digits_judge(mnist: Path) -> None:
    spec = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
    divided = read_pictures(mnist, tuple("0123456789"), spec)
    assert isinstance(divided.held_out, DigitPictures) and divided.most_points_lost == 0.1
    assert (len(divided.calibration), len(divided.held_out)) == (300, 10_000)
    assert divided.held_out.classes[:5].tolist() == [7, 2, 1, 0, 4]
    assert tuple(divided.calibration.pixels(0, 2).shape) == (2, 1, 28, 28)
    with pytest.raises(ValueError, match="tells other classes apart than the ten digits"):
        read_pictures(mnist, LABELS, spec)
    with pytest.raises(ValueError, match="leave --held-out away"):
        read_pictures(mnist, tuple("0123456789"), spec, held_out="10")
