"""`linnaeus-zoo check` says what an ONNX file gives and what to do, and `import` refuses exactly what it warns of."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tests.models.own_model import tiny_networks as networks
from tests.models.own_model.onnx_files import PIXELS, BatchTaken, Best, FromPixels, built, export
from tests.models.own_model.tiny_networks import Tiny

Run = Callable[..., Any]
HALVES = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
IMAGES = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])
TWO_INPUTS = [IMAGES, helper.make_tensor_value_info("size", TensorProto.FLOAT, [2])]
FLAT = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 192])]
WHOLE_NUMBERS = [helper.make_tensor_value_info("images", TensorProto.INT64, ["n", 3, 8, 8])]
MEAN_OF_CHANNELS = [
    helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["logits"], axis=1),
]
UNKNOWN_OPERATOR = [helper.make_node("Mystery", ["images"], ["logits"], domain="com.example")]


# A file by its name: what makes it, what `check` must say, and further options.
Maker = Callable[[Path], Path]
BAD: dict[str, tuple[Maker, Sequence[str], Sequence[str]]] = {
    "probabilities": (
        lambda path: export(networks.Softmaxed(), path),
        ["gives probabilities", "--activation none"],
        (),
    ),
    "scores": (lambda path: export(networks.Sigmoid(), path), ["gives independent scores", "--activation none"], ()),
    "sigmoid twice": (
        lambda path: export(networks.Sigmoid(), path),
        ["a sigmoid would make something else", "say --activation none"],
        ("--activation", "sigmoid"),
    ),
    "two outputs": (
        lambda path: export(networks.Auxiliary(), path, variable_batch=False),
        ["gives 2 outputs (logits, ", "export a module whose forward returns the logits alone"],
        (),
    ),
    "map": (lambda path: export(networks.Map(), path), ["gives the shape [1, 4, 6, 6]", "this is a map"], ()),
    "best": (lambda path: export(Best(), path), ["gives int64", "not the index of the best class"], ()),
    "neighbors": (lambda path: export(networks.Neighbors(), path), ["when another picture is in the batch"], ()),
    "batch": (
        lambda path: export(BatchTaken(), path, variable_batch=False),
        ["takes one picture at a time", "export it with a variable batch"],
        (),
    ),
    "channels": (
        lambda path: export(Tiny(channels=1), path, torch.zeros(1, 1, 8, 8)),
        ["takes 1 channels, but pictures have 3", "say --channels 1"],
        (),
    ),
    "size": (lambda path: export(Tiny(), path), ["takes pictures of 8x8, not of 9x8", "--size 8x8"], ("--size", "9x8")),
    "two inputs": (
        lambda path: built(path, inputs=TWO_INPUTS),
        ["takes 2 inputs (images, size), but must take one", "forward takes the pictures alone"],
        (),
    ),
    "no picture": (
        lambda path: built(path, inputs=FLAT, nodes=[helper.make_node("Identity", ["images"], ["logits"])]),
        ["takes [N, 192]", "takes pictures, [N, C, H, W]"],
        (),
    ),
    "whole numbers": (
        lambda path: built(path, inputs=WHOLE_NUMBERS, nodes=[helper.make_node("Cast", ["images"], ["logits"], to=1)]),
        ["takes int64", "float32 or uint8"],
        (),
    ),
    "old": (lambda path: built(path, opset=6), ["is of opset 6, which is too old", "onnx.version_converter"], ()),
    "unknown": (
        lambda path: built(path, nodes=UNKNOWN_OPERATOR),
        ["cannot be run by onnxruntime", "Mystery", "operators and an opset that it knows"],
        (),
    ),
    "float64": (
        lambda path: export(Tiny().double(), path, torch.zeros(1, 3, 8, 8).double()),
        ["cannot be run by onnxruntime", "Could not find an implementation for Conv"],
        (),
    ),
    "features that it does not compute": (
        lambda path: export(Tiny(), path),
        ["computes nothing named '1'", "name the input of its last layer, perhaps /layers/layers.3/Flatten_output_0"],
        ("--features", "1"),
    ),
    "features that are its pictures": (
        lambda path: built(path),
        ["computes nothing named 'images'", "leave --features out: it has no layer"],
        ("--features", "images"),
    ),
    "features that are its logits": (
        lambda path: export(networks.Softmaxed(), path),
        ["has no other output than 'logits'", "perhaps /layers/layers.3/Flatten_output_0"],
        ("--features", "logits", "--activation", "none"),
    ),
    "features that are a map": (
        lambda path: export(Tiny(), path),
        ["gives features [1, 4, 6, 6] as '/layers/layers.2/Relu'", "what comes of its pooling or flattening"],
        ("--features", "/layers/layers.2/Relu"),
    ),
    "features that are no floats": (
        lambda path: built(path, nodes=[*MEAN_OF_CHANNELS, helper.make_node("Shape", ["images"], ["sizes"])]),
        ["gives int64 as 'sizes'", "name a tensor of floats"],
        ("--features", "sizes"),
    ),
    "features that are not the output of its own": (
        lambda path: export(networks.Auxiliary(), path, variable_batch=False),
        ["computes nothing named '1'", "name one of its other outputs, "],
        ("--features", "1"),
    ),
    "features and two outputs more": (
        lambda path: export(networks.Auxiliary(), path, variable_batch=False),
        ["gives 2 outputs (logits, ", "logits alone, or say --features"],
        ("--features", "/layers/layers.3/Flatten_output_0"),
    ),
    "labels": (lambda path: export(Tiny(4), path), ["tells 4 classes apart, but there are 3 labels"], ()),
}


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return ["--size", "8", "--labels", str(tmp_path / "labels.txt"), *HALVES]


@pytest.mark.parametrize("name", BAD)
def test_import_refuses_what_check_warns_of(tmp_path: Path, run_zoo: Run, options: list[str], name: str) -> None:
    make, lines, more = BAD[name]
    path = make(tmp_path / "model.onnx")
    checked = run_zoo("check", str(path), *options, *more)
    assert checked.exit_code == 1
    place = 0
    for line in lines:
        place = checked.output.find(line, place)
        assert place >= 0, f"{line!r} is not in order in {checked.output}"
    assert "It cannot be imported as it is: 1 problem." in checked.output
    repository = tmp_path / "repository"
    refused = run_zoo("import", str(path), *options, *more, "--name", "mine", "--repository", str(repository))
    assert refused.exit_code == 1 and lines[0] in refused.errors and "Traceback" not in refused.errors
    assert not repository.exists()


def test_check_prints_the_import_that_then_works(tmp_path: Path, run_zoo: Run, options: list[str]) -> None:
    path = export(Tiny(), tmp_path / "My Model.onnx")
    checked = run_zoo("check", str(path), *options)
    assert checked.exit_code == 0 and "takes float32 [N, 3, 8, 8] and gives float32 [1, 3]" in checked.output
    assert "linnaeus-zoo import" in checked.output and "--name my-model" in checked.output
    imported = run_zoo("import", str(path), *options, "--name", "my-model", "--repository", str(tmp_path / "r"))
    assert imported.exit_code == 0 and (tmp_path / "r" / "my-model" / "1" / "model.onnx").is_file()


def test_a_fixed_batch_is_made_variable_and_said_so(tmp_path: Path, run_zoo: Run, options: list[str]) -> None:
    path = export(Tiny(), tmp_path / "model.onnx", variable_batch=False)
    checked = run_zoo("check", str(path), *options)
    assert checked.exit_code == 0 and "was exported for a batch of 1, which is made variable" in checked.output


def test_a_network_that_normalizes_pixels_needs_no_mean(tmp_path: Path, run_zoo: Run, options: list[str]) -> None:
    path = export(FromPixels(), tmp_path / "model.onnx", PIXELS)
    checked = run_zoo("check", str(path), *options[:4])
    assert checked.exit_code == 0 and "--mean" not in checked.output and "It can be imported:" in checked.output
    with_mean = run_zoo("check", str(path), *options)
    assert with_mean.exit_code == 1 and "leave --mean and --std out" in with_mean.output


@pytest.mark.parametrize("command", ["check", "import"])
def test_a_damaged_file_is_refused_in_one_sentence(
    tmp_path: Path, run_zoo: Run, options: list[str], command: str
) -> None:
    whole = export(Tiny(), tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    more = ["--name", "mine", "--repository", str(tmp_path / "r")] if command == "import" else []
    refused = run_zoo(command, str(tmp_path / "model.onnx"), *options, *more)
    assert refused.exit_code == 1 and "is ONNX, but damaged" in refused.errors and "Traceback" not in refused.errors


def test_weights_that_are_missing_are_named(tmp_path: Path, run_zoo: Run, options: list[str]) -> None:
    model = onnx.load(str(export(Tiny(), tmp_path / "whole.onnx")))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    refused = run_zoo("check", str(path), *options)
    assert refused.exit_code == 1 and "weights.bin" in refused.errors and "Traceback" not in refused.errors


def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, run_zoo: Run, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(Tiny(), tmp_path / "model.onnx")
    imported = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in ("onnx", "onnxruntime"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    refused = run_zoo("check", str(path), *options)
    assert refused.exit_code == 1 and "pip install 'linnaeus[onnx]'" in refused.errors
