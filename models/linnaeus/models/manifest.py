"""The manifest and the labels of a version folder, which the server and the zoo share.

It imports the standard library and modules that import nothing else, and so needs no torch. A version folder contains

    <model>/<version>/model.pt        TorchScript: uint8 [N, C, H, W] to float32 probabilities [N, classes]; in its
                                      place model.onnx, or model.xml and model.bin (`linnaeus.models.model_format`)
    <model>/<version>/manifest.json   this manifest
    <model>/<version>/labels.txt      one label per line, UTF-8, by class index; see `parse_labels`
    <model>/<version>/calibration.bin optional: images on which precisions are compared, uint8 [N, H, W, C]

The manifest is validated strictly: an unknown, missing or ill-typed field is an error that names the field.
"""

import dataclasses
import hashlib
import json
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.json_dataclass import build_dataclass
from linnaeus.models.model_format import MODEL_FILES, TORCHSCRIPT
from linnaeus.text_files import TextFileError, lines_of, read_text_file, reason_of

MODEL_FILE = MODEL_FILES[TORCHSCRIPT][0]
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"
CALIBRATION_FILE = "calibration.bin"
FORMAT = 1

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
# Squares along each side of the checkerboard of `check_pixels`.
_SQUARES = 4
_INTERPOLATIONS = ("bilinear", "bicubic")
# ASCII's, which move a terminal's cursor or end a line, but the tab. All other characters may stand in a label, U+0085,
# U+2028 and U+2029 too: they are no line ends here.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# A version is an int64 in the protocols.
_VERSION_FOLDER = re.compile(r"0*([1-9][0-9]{0,17})")


class ManifestError(ValueError):
    """An invalid version folder; the message names the file and the field."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How images are prepared for a model.

    The shorter side is resized to `resize` pixels with antialiasing, then the center `height` x `width` is cropped.

    Raises:
        ValueError: if a field is out of range.
    """

    channels: int
    height: int
    width: int
    resize: int
    interpolation: str

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}, but must be 1 or 3")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"interpolation is {self.interpolation!r}, but must be one of {', '.join(_INTERPOLATIONS)}"
            )
        if not 1 <= max(self.height, self.width) <= self.resize <= 4096 or min(self.height, self.width) < 1:
            raise ValueError("height and width must be between 1 and resize, and resize at most 4096")


@dataclass(frozen=True, slots=True)
class Weights:
    """The source of the weights; `seed` is set for untrained weights only."""

    source: str
    seed: int | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights are trained; otherwise the predictions are meaningless."""
        return self.source != "random"


@dataclass(frozen=True, slots=True)
class Check:
    """A recorded run for one image, `check_pixels(input, seed)`, which the server repeats when it loads the model.

    `probabilities` is the float32 output by class index; `tolerance` is the largest absolute difference allowed for a
    float32 run on another machine.
    """

    seed: str
    tolerance: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The images in `calibration.bin`, in the model's input size, on which precisions are compared.

    Raises:
        ValueError: if there are no images.
    """

    pictures: int
    sha256: str

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ValueError(f"pictures is {self.pictures}, but must be at least 1")


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a version was made of a float32 one of the same model, and how far it agrees with it.

    Attributes:
        precision: what its weights and most of its sums are in, such as `int8`.
        version, sha256: of the version that it was made of.
        calibration_pictures: how many pictures the ranges of its activations are from.
        held_out_pictures: how many others it was judged by.
        agreement: the share of those with the same top-1; `agreement_interval` is its 95 % interval, low and high.
        accuracy_float32, accuracy: the shares that the original and this version name rightly; None without labels.
        accepted: whether it was written although the agreement did not suffice.

    Raises:
        ValueError: if a share is out of range.
    """

    precision: str
    version: int
    sha256: str
    calibration_pictures: int
    held_out_pictures: int
    agreement: float
    agreement_interval: tuple[float, ...]
    accuracy_float32: float | None = None
    accuracy: float | None = None
    accepted: bool = False

    def __post_init__(self) -> None:
        if self.precision != "int8":
            raise ValueError(f"precision is {self.precision!r}, but this release knows int8")
        if len(self.agreement_interval) != 2:
            raise ValueError(f"agreement_interval has {len(self.agreement_interval)} entries, but must have 2")
        shares = (self.agreement, *self.agreement_interval, self.accuracy_float32, self.accuracy)
        if not all(0 <= share <= 1 for share in shares if share is not None):
            raise ValueError("agreement, agreement_interval and the accuracies must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the server needs to know about a version and cannot read from the model's own file.

    `model_format` is one of `MODEL_FILES`, and `sha256` covers the files of that format. `format` numbers the layout of
    the manifest itself. With `features` above 0 the model has a second output, float32 [N, features].

    Raises:
        ValueError: if a field is out of range.
    """

    name: str
    version: int
    architecture: str
    task: str
    input: InputSpec
    classes: int
    weights: Weights
    parameters: int
    sha256: str
    torch_version: str
    check: Check
    format: int = FORMAT
    calibration: Calibration | None = None
    model_format: str = TORCHSCRIPT
    features: int = 0
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format is {self.format}, but this release reads format {FORMAT}")
        if self.model_format not in MODEL_FILES:
            known = ", ".join(MODEL_FILES)
            raise ValueError(f"model_format is {self.model_format!r}, but this release knows {known}")
        check_name(self.name)
        if not 1 <= self.version < 10**18:
            raise ValueError(f"version is {self.version}, but must be a positive integer of at most 18 digits")
        if self.task != "image-classification":
            raise ValueError(f"task is {self.task!r}, but must be 'image-classification'")
        if self.classes < 1:
            raise ValueError(f"classes is {self.classes}, but must be at least 1")
        if self.features < 0:
            raise ValueError(f"features is {self.features}, but must be at least 0")
        if len(self.check.probabilities) != self.classes:
            raise ValueError(
                f"check.probabilities has {len(self.check.probabilities)} entries for {self.classes} classes"
            )

    @property
    def model_file(self) -> str:
        """The name of the file that a runtime is given, such as `model.pt`."""
        return MODEL_FILES[self.model_format][0]


def check_name(name: str) -> None:
    """Checks that a model may have this name.

    Raises:
        ValueError: if it may not.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}, but must be 1 to 64 of a-z, 0-9, '_', '.', '-'")


def check_pixels(spec: InputSpec, seed: str) -> bytes:
    """Returns the input of the check as bytes, uint8 [height, width, channels], the same on every machine.

    The image is a checkerboard of random colors. Pixel noise would not do: LeNet gives the same output for all noise,
    so the check could not fail.
    """
    colors = hashlib.shake_256(seed.encode()).digest(_SQUARES * _SQUARES * spec.channels)
    squares = [colors[start : start + spec.channels] for start in range(0, len(colors), spec.channels)]
    columns = [x * _SQUARES // spec.width for x in range(spec.width)]
    rows = [b"".join(squares[_SQUARES * row + column] for column in columns) for row in range(_SQUARES)]
    return b"".join(rows[y * _SQUARES // spec.height] for y in range(spec.height))


def to_json(manifest: Manifest) -> str:
    """Returns the text of `manifest.json`."""
    fields = dataclasses.asdict(manifest)
    # releases before these fields reject them as unknown
    for optional in ("calibration", "quantization"):
        if fields[optional] is None:
            del fields[optional]
    if manifest.model_format == TORCHSCRIPT:
        del fields["model_format"]
    if not manifest.features:
        del fields["features"]
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Manifest:
    """Parses and validates the text of `manifest.json`.

    Raises:
        ManifestError: if the text is not a JSON object, or a field is missing, unknown, ill-typed or out of range.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ManifestError(f"{MANIFEST_FILE} is not valid JSON: it nests too deeply") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
        raise ManifestError(f"{MANIFEST_FILE} is not valid JSON: {reason}") from None
    try:
        return typing.cast(Manifest, build_dataclass(Manifest, data))
    except ValueError as error:
        raise ManifestError(f"{MANIFEST_FILE}: {error}") from None


def read_manifest(folder: Path) -> Manifest:
    """Reads a version folder's manifest.

    Raises:
        ManifestError: if the file is missing, unreadable or invalid.
    """
    return from_json(_read_text(folder / MANIFEST_FILE))


def read_labels(folder: Path, classes: int) -> tuple[str, ...]:
    """Reads a version folder's labels, one for each class.

    Raises:
        ManifestError: if the file is missing or unreadable, has another number of lines, or violates `check_labels`.
    """
    text = _read_text(folder / LABELS_FILE)
    try:
        labels = parse_labels(text)
    except ValueError as error:
        raise ManifestError(f"{LABELS_FILE} {error}") from None
    if len(labels) != classes:
        raise ManifestError(f"{LABELS_FILE} has {len(labels)} lines, but {MANIFEST_FILE} says classes is {classes}")
    return labels


def parse_labels(text: str) -> tuple[str, ...]:
    """Returns the labels in a text of one label per line; ignores blank lines at the end.

    Raises:
        ValueError: as `check_labels`.
    """
    lines = lines_of(text)
    while lines and not lines[-1].strip():
        lines.pop()
    check_labels(lines)
    return tuple(lines)


def check_labels(labels: Sequence[str]) -> None:
    """Checks that each label can be a line of its own.

    Raises:
        ValueError: if a label is blank or has a control character; the message begins with its line.
    """
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise ValueError(f"line {number} is empty, but must be the label of class {number - 1}")
        control = _CONTROL.search(label)
        if control:
            code = f"U+{ord(control[0]):04X}"
            raise ValueError(f"line {number} holds the control character {code}; labels hold none but tabs")


def version_of_folder(name: str) -> int | None:
    """Returns the version that a folder's name stands for, such as 1 for `1` and `0001`; None if it is not a version.

    A version is written with ASCII digits only, is positive and has at most 18 digits after leading zeros.
    """
    match = _VERSION_FOLDER.fullmatch(name)
    return int(match[1]) if match else None


def _read_text(path: Path) -> str:
    try:
        return read_text_file(path)
    except FileNotFoundError:
        raise ManifestError(f"{path.name} is missing") from None
    except (OSError, TextFileError) as error:
        raise ManifestError(f"{path.name} cannot be read: {reason_of(error)}") from None
