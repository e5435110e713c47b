"""Every wrong invocation of `linnaeus-zoo` ends in one line that says what is wrong, and writes nothing."""

import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.own_model.tiny_networks import Tiny, traced
from tests.wrong_invocations import Result, check

GIVEN = "--labels labels.txt --size 8 --mean 0,0,0 --std 1,1,1"
SEEN = "visualize lenet picture.png --out look"
SHAPED = "export regnet --weights random"

# The command line, and words that its line has. Paths are in a folder with what `folder` below writes.
WRONG = {
    "nothing": "nothing",
    "list --nope": "--nope",
    "list extra": "extra",
    "inspect": "name",
    "inspect nothing": "there is no model 'nothing' in the zoo; there are: lenet",
    "inspect lenet --stages 0": "say 1 to 7",
    "inspect lenet --stages 99": "99 of them cannot be taken",
    "inspect lenet --stages x": "--stages",
    "inspect lenet --only pool": "pool",
    "inspect lenet --only conv --parameters": "say one of them",
    "inspect lenet --weights random": "say --parameters as well",
    "inspect lenet --parameters --weights nowhere.pt": "there is no weights file nowhere.pt",
    "visualize": "name",
    "visualize lenet": "picture",
    "visualize lenet picture.png": "--out",
    "visualize lenet nowhere.png --out look": "nowhere.png",
    "visualize lenet labels.txt --out look": "labels.txt",
    "visualize lenet . --out look": "irectory",
    "visualize lenet picture.png --out labels.txt": "labels.txt/stages cannot be written into",
    f"{SEEN} --class nonsense": "there is no class 'nonsense'; give one of the 10 labels",
    f"{SEEN} --class 99": "there is no class '99'",
    f"{SEEN} --seed -1": "--seed",
    f"{SEEN} --labels nowhere.txt": "nowhere.txt",
    "visualize resnet18 picture.png --out look": "no weights come with resnet18",
    "train": "name",
    "train nothing": "'nothing' cannot be trained here; these can: lenet",
    "train lenet --epochs 0": "--epochs",
    "train lenet --out .": "must name a weights file such as runs/lenet.pt",
    "train lenet --out curve.png": "must name a weights file",
    "train lenet --out labels.txt/lenet.pt": "labels.txt cannot be written into",
    "train googlenet_plain --data nowhere": "there is no folder nowhere/train",
    "export": "name the models to export",
    "export lenet --all": "but not both",
    "export nothing": "there is no model 'nothing'",
    "export lenet --version 0": "--version",
    "export lenet --version x": "--version",
    "export lenet --weights nowhere.pt": "there is no weights file nowhere.pt",
    "export lenet --weights labels.txt": "must end with .pth, .pt or .safetensors",
    "export lenet --weights module.pt": "is no state dict of plain tensors",
    "export lenet --weights state.pt": "does not fit lenet",
    "export lenet --weights DEFAULT": "no weights to download for lenet",
    "export lenet --labels nowhere.txt": "nowhere.txt",
    "export lenet --labels empty.txt": "there are no labels in empty.txt",
    "export lenet --labels picture.png": "save it as UTF-8",
    "export lenet --labels labels.txt": "tells 10 classes apart, but there are 3 labels",
    "export lenet --seed -1": "--seed",
    "export lenet --format keras": "keras",
    "export lenet --calibration nowhere": "nowhere",
    "export lenet --calibration folder": "there are no pictures in folder",
    "export lenet --calibration . --format onnx": "leave it out with --format onnx",
    "export lenet --repository labels.txt": "--repository labels.txt is not a folder",
    "export lenet --depth 4": "shape the model regnet",
    f"{SHAPED} --depth 0": "depth is 0",
    f"{SHAPED} --w0 7": "w0 is 7, but must be a positive multiple of 8",
    f"{SHAPED} --wa -1": "wa is -1",
    f"{SHAPED} --wm nan": "wm is nan",
    f"{SHAPED} --group-width 0": "group width is 0",
    f"{SHAPED} --se-ratio -1": "-1",
    "draw-regnet --depth 0": "depth is 0",
    "draw-regnet --wa x": "--wa",
    "draw-regnet --out .": "must name a picture",
    "draw-regnet --out widths": "must name a picture, such as widths.png",
    "draw-regnet --out widths.exe": "exe",
    "draw-regnet --out labels.txt/widths.png": "labels.txt cannot be written into",
    "design-space": "--space",
    "design-space --space Z": "Z",
    "design-space --space A --samples 0": "--samples",
    "design-space --space A --images 1": "--images",
    "quantize": "NAME[:VERSION]",
    "quantize lenet": "--calibration",
    "quantize lenet --calibration .": "model-repository has no version of 'lenet'; linnaeus-zoo export or import",
    "quantize ../lenet --calibration .": "'../lenet' is no model",
    "quantize :1 --calibration .": "':1' is no model",
    "quantize lenet --calibration . --version 0": "--version",
    "check": "model",
    "check nowhere.pt": "there is no file nowhere.pt",
    "check model.pt --size big": "--size is 'big'",
    "check model.pt --size 8x": "--size is '8x'",
    "check model.pt --size 0": "--size is '0', but height and width must be between 1 and 4096",
    "check model.pt --size 99999": "--size is '99999'",
    "check model.pt --size 8 --resize 4": "--resize is 4, but must be between 8",
    "check model.pt --size 8 --channels 2": "channels is 2, but must be 1 or 3",
    "check model.pt --size 8 --activation relu": "relu",
    "check model.pt --size 8 --interpolation cubic": "interpolation is 'cubic'",
    "check model.pt --size 8 --mean a,b,c": "--mean is 'a,b,c'",
    "check model.pt --size 8 --labels nowhere.txt": "nowhere.txt",
    "check cut.pt --size 8": "is TorchScript that torch",
    "import": "model",
    "import model.pt --name mine": "--labels",
    f"import nowhere.pt --name mine {GIVEN}": "there is no file nowhere.pt",
    f"import state.pt --name mine {GIVEN}": "is neither TorchScript nor ONNX, but a state dict",
    f"import module.pt --name mine {GIVEN}": "is neither TorchScript nor ONNX, but a whole object",
    f"import folder --name mine {GIVEN}": "is neither TorchScript nor ONNX, but a folder; name the model file in it",
    f"import model.pt --name 'No Name' {GIVEN}": "name is 'No Name'",
    f"import model.pt --name ../mine {GIVEN}": "name is '../mine'",
    f"import model.pt --name mine {GIVEN} --version 99999999999999999999": "at most 18 digits",
    f"import model.pt --name mine {GIVEN} --repository labels.txt": "--repository labels.txt is not a folder",
    f"import model.pt --name mine {GIVEN} --calibration nowhere": "nowhere",
    f"import model.pt --name mine {GIVEN} --size 9": "fails for a batch of 1 picture of 3x9x9",
    f"import model.pt --name mine {GIVEN} --mean 0.5": "--mean has 1 numbers, but there are 3 channels",
    f"import model.pt --name mine {GIVEN} --mean 123.7,116.3,103.5": "divide by 255",
    f"import model.pt --name mine {GIVEN} --std 0,1,1": "--std must be above 0",
    f"import model.pt --name mine {GIVEN} --labels two.txt": "tells 3 classes apart, but there are 2 labels",
    f"import model.pt --name mine {GIVEN} --activation none": "which are no probabilities",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with what the table names."""
    root = tmp_path_factory.mktemp("wrong")
    traced(Tiny()).save(str(root / "model.pt"))
    torch.save(Tiny().state_dict(), root / "state.pt")
    torch.save(Tiny(), root / "module.pt")
    with zipfile.ZipFile(root / "cut.pt", "w") as archive:  # TorchScript, but for what the code works on
        archive.writestr("cut/constants.pkl", b"")
        archive.writestr("cut/code/__torch__.py", b"")
    (root / "labels.txt").write_text("a\nb\nc\n")
    (root / "two.txt").write_text("a\nb\n")
    (root / "empty.txt").touch()
    (root / "folder").mkdir()
    (root / "picture.png").write_bytes((pictures / "digits" / "7.png").read_bytes())
    return root


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_invocation_ends_in_one_line_and_writes_nothing(
    folder: Path, command: str, run_zoo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = files_in(folder)
    done = run_zoo(*shlex.split(command))
    check(Result(done.exit_code, done.output, done.errors), said=WRONG[command])
    assert files_in(folder) == before


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
