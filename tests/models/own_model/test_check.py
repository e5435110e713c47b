"""`linnaeus-zoo check` says what a model gives and what to do, and `import` refuses exactly what `check` warns of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.own_model import tiny_networks as networks
from tests.models.own_model.tiny_networks import Tiny, frozen, scripted, traced, traced_in_half
from torch import nn

from linnaeus.models.pixel_classifier import PixelClassifier

HALVES = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
GRAY = ("--channels", "1", "--mean", "0.5", "--std", "0.5")
Compile = Callable[[nn.Module], torch.jit.ScriptModule]


@dataclass(frozen=True)
class Case:
    """A network, how it becomes a file, the options, and lines that must be in the answer, each after the other."""

    network: nn.Module
    lines: Sequence[str]
    options: Sequence[str] = ()
    compile: Compile = scripted
    normalization: Sequence[str] = HALVES
    labels: str = "a\nb\nc\n"


SOFTMAX = "gives logits; a softmax makes probabilities of them"
GOOD = {
    "scripted": Case(Tiny(), ["scripted TorchScript", "takes float32 [N, 3, 8, 8] and gives float32 [1, 3]", SOFTMAX]),
    "traced": Case(Tiny(), ["traced TorchScript", "[3, 3] for three", "same for a picture alone"], compile=traced),
    "log-softmax": Case(networks.LogSoftmaxed(), ["gives logarithms of probabilities; a softmax makes"]),
    "independent logits": Case(Tiny(), ["gives logits; a sigmoid makes a probability"], ("--activation", "sigmoid")),
    "softmax inside": Case(networks.Softmaxed(), ["they are served as they are"], ("--activation", "none")),
    "sigmoid inside": Case(networks.Sigmoid(), ["probability of its own label"], ("--activation", "none")),
    "one of its own": Case(Tiny(1), ["a sigmoid makes"], ("--activation", "sigmoid"), labels="cat\n"),
    "small logits": Case(networks.Small(), ["taken for logits, as --activation"], ("--activation", "softmax")),
    "gray": Case(Tiny(channels=1), ["takes float32 [N, 1, 8, 8]"], normalization=GRAY),
    "frozen": Case(Tiny(), ["frozen TorchScript", "takes float32", SOFTMAX], compile=frozen),
    "half": Case(Tiny().half(), ["note", "has weights in float16: it is served in float32", "gives float32 [1, 3]"]),
    "traced half": Case(Tiny().half(), ["has weights in float16", "gives float32 [1, 3]"], compile=traced_in_half),
    "bfloat16": Case(Tiny().bfloat16(), ["has weights in bfloat16", "gives float32 [1, 3]"]),
    "double": Case(Tiny().double(), ["has weights in float64", "gives float32 [1, 3]"]),
    "frozen half": Case(
        Tiny().half(), ["note", "computes in float16", "call .float()", "gives float16 [1, 3]"], compile=frozen
    ),
    "names a device": Case(
        networks.Placed(), ["as many labels", "names the device 'cpu'", "trace it without naming"], compile=traced
    ),
    "constant": Case(networks.Constant(), ["note", "gives the same for six", "check --mean and --std"]),
    "never trained": Case(networks.Zeros(), ["note", "gives the same for six", SOFTMAX]),
    "labels twice": Case(Tiny(), ["note", "the label 'a' stands for several"], labels="a\nb\na\n"),
}
MIXED = "say --activation none"
SMALL = "or --activation softmax if they are logits that happen to be so small"
BAD = {
    "another device": Case(networks.Elsewhere(), ["fails for a batch of 1", "it names the device 'meta'"]),
    "softmax inside": Case(networks.Softmaxed(), ["gives probabilities", "a softmax would make something else", MIXED]),
    "softmax twice": Case(networks.Softmaxed(), ["gives probabilities", MIXED], ("--activation", "softmax")),
    "sigmoid of softmax": Case(networks.Softmaxed(), ["a sigmoid would", MIXED], ("--activation", "sigmoid")),
    "sigmoid inside": Case(networks.Sigmoid(), ["gives independent scores (sigmoid)", MIXED]),
    "softmax of sigmoid": Case(networks.Sigmoid(), ["a softmax would", MIXED], ("--activation", "softmax")),
    "sigmoid twice": Case(networks.Sigmoid(), ["a sigmoid would", MIXED], ("--activation", "sigmoid"), traced),
    "small logits": Case(networks.Small(), ["gives independent scores", MIXED, SMALL]),
    "logits as they are": Case(
        Tiny(), ["which are no probabilities", "--activation softmax"], ("--activation", "none")
    ),
    "sigmoid of logarithms": Case(
        networks.LogSoftmaxed(), ["gives logarithms", "say --activation softmax"], ("--activation", "sigmoid")
    ),
    "single logit": Case(Tiny(1), ["always 100 %", "say --activation sigmoid, with one label"], labels="cat\n"),
    "single probability": Case(networks.Softmaxed(1), ["gives the single number 1", "leave that"], labels="cat\n"),
    "squeezed": Case(networks.Squeezed(), ["gives the shape [1]", "leave out its squeeze"]),
    "two outputs": Case(networks.Auxiliary(), ["gives a tuple of 2", "forward returns the logits alone"]),
    "dictionary": Case(networks.Named(), ["gives a dict of 1", "forward returns the logits alone"]),
    "map": Case(networks.Map(), ["gives the shape [1, 4, 6, 6]", "this is a map"]),
    "channels last": Case(
        networks.ChannelsLast(), ["fails for a batch of 1 picture of 3x8x8", "x.permute(0, 2, 3, 1)"]
    ),
    "one by one": Case(networks.OneByOne(), ["fails for a batch of 3 pictures", "it takes one picture only"]),
    "flattened": Case(networks.Flattened(), ["gives the shape [1, 9] for 3 pictures", "x.flatten(1)"]),
    "neighbors": Case(networks.Neighbors(), ["when another picture is in the batch", "call .eval()"]),
    "dropout": Case(networks.Dropout(), ["when it is asked again", "call .eval()"]),
    "not a number": Case(networks.NotANumber(), ["not finite", "division by 0"]),
    "gray taken for color": Case(Tiny(channels=1), ["fails for a batch of 1 picture", "it takes --channels 1"]),
    "another size": Case(Tiny(), ["fails for a batch of 1 picture of 3x9x8", "check --size"], ("--size", "9x8")),
    "its own error": Case(networks.Particular(), ["fails for a batch of 1 picture", "pictures must be 7 wide"]),
    "too few labels": Case(Tiny(), ["tells 3 classes apart, but there are 2", "background"], labels="a\nb\n"),
    "too many labels": Case(Tiny(), ["but there are 4 labels", "one label a line"], labels="a\nb\nc\nd\n"),
    "served": Case(
        PixelClassifier(Tiny(), (0.5,) * 3, (0.5,) * 3), ["is the model.pt of a version folder", "copy that folder"]
    ),
    "mean of 255": Case(
        Tiny(),
        ["would get wrong pixels: --mean is 123.7,116.3,103.5", "divide by 255: --mean 0.4851,0.4561,0.4059"],
        normalization=("--mean", "123.7,116.3,103.5", "--std", "0.2,0.2,0.2"),
    ),
    "deviation of 255": Case(
        Tiny(),
        ["--std is 58.4,57.1,57.4", "divide by 255"],
        normalization=("--mean", "0,0,0", "--std", "58.4,57.1,57.4"),
    ),
}


def run(case: Case, folder: Path, run_zoo: Callable[..., Any], command: str, *more: str) -> Any:
    case.compile(case.network).save(str(folder / "model.pt"))
    (folder / "labels.txt").write_text(case.labels)
    given = ["--size", "8", "--labels", str(folder / "labels.txt"), *case.normalization, *case.options, *more]
    return run_zoo(command, str(folder / "model.pt"), *given)


def imported(case: Case, folder: Path, run_zoo: Callable[..., Any]) -> Any:
    return run(case, folder, run_zoo, "import", "--name", "mine", "--repository", str(folder / "repository"))


def has_lines_in_order(text: str, lines: Sequence[str]) -> bool:
    place = 0
    for line in lines:
        found = text.find(line, place)
        if found < 0:
            return False
        place = found + len(line)
    return True


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_what_check_finds_good_can_be_imported_as_it_says(
    tmp_path: Path, case: Case, run_zoo: Callable[..., Any]
) -> None:
    done = run(case, tmp_path, run_zoo, "check")
    assert done.exit_code == 0, done
    assert has_lines_in_order(done.output, case.lines), done.output
    assert "problem" not in done.output and not done.errors
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "check wrote something"
    command = done.output.splitlines()[-1].split()
    assert command[:2] == ["linnaeus-zoo", "import"]
    done = run_zoo(*command[1:], "--repository", str(tmp_path / "repository"))
    assert done.exit_code == 0 and done.output == f"{tmp_path / 'repository' / 'model' / '1'}\n", done


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_check_warns_of_is_refused_by_import(tmp_path: Path, case: Case, run_zoo: Callable[..., Any]) -> None:
    done = run(case, tmp_path, run_zoo, "check")
    assert done.exit_code == 1, done
    assert has_lines_in_order(done.output, case.lines), done.output
    assert "problem " in done.output and done.output.endswith("Nothing was written.\n") and not done.errors
    refused = imported(case, tmp_path, run_zoo)
    assert refused.exit_code == 1 and not refused.output, refused
    assert refused.errors.startswith("linnaeus-zoo: ") and refused.errors.count("\n") == 1
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("kind", ["state dict", "module", "text"])
def test_a_file_that_is_no_torchscript_is_named_by_both(tmp_path: Path, kind: str, run_zoo: Callable[..., Any]) -> None:
    path, labels = tmp_path / "model.pt", tmp_path / "labels"
    labels.write_text("a\n")
    if kind == "text":
        path.write_text("hello")
    else:
        torch.save(Tiny() if kind == "module" else Tiny().state_dict(), path)
    done = run_zoo("check", str(path))
    assert done.exit_code == 1 and "it is neither TorchScript nor ONNX" in done.output and "->" in done.output
    given = ["--name", "mine", "--labels", str(labels), "--size", "8", *HALVES, "--repository", str(tmp_path / "r")]
    refused = run_zoo("import", str(path), *given)
    assert refused.exit_code == 1 and "is neither TorchScript nor ONNX, but " in refused.errors
    assert not (tmp_path / "r").exists()


def test_check_asks_for_what_it_needs(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    traced(Tiny()).save(str(tmp_path / "model.pt"))
    done = run_zoo("check", str(tmp_path / "model.pt"))
    assert done.exit_code == 1 and "say --size, such as --size 224" in done.output
    done = run_zoo("check", str(tmp_path / "model.pt"), "--size", "8")
    assert done.exit_code == 0
    assert has_lines_in_order(done.output, ["run without --mean and --std", "tells 3 classes apart", "say --labels"])
    assert done.output.endswith("`linnaeus-zoo import` also needs --name, --labels, --mean, --std.\n")
