"""Writes a module that a measurement or a test made up as a version that servers load like any other."""

from pathlib import Path

import torch
from torch import nn

import linnaeus.models.pixel_classifier  # noqa: F401  # silences what torch says of TorchScript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights


def write_scripted_model(
    module: nn.Module,
    repository: Path,
    name: str,
    spec: InputSpec,
    labels: tuple[str, ...],
    *,
    architecture: str,
    weights: Weights | None = None,
) -> Path:
    """Writes `<repository>/<name>/1` and returns this folder.

    Args:
        module: maps uint8 [N, C, H, W] to float32 probabilities [N, classes]; TorchScript must be able to compile it.
        repository: the repository; made if it is not there.
        name: name of the model.
        spec: what the module takes.
        labels: one for each class.
        architecture: as in the manifest.
        weights: as in the manifest; "constant" if there are none.
    """
    script: torch.jit.ScriptModule = torch.jit.script(module.eval())
    with torch.inference_mode():
        probabilities = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent(
        name=name,
        architecture=architecture,
        input=spec,
        labels=labels,
        weights=weights or Weights("constant"),
        model=TorchScriptModel(script),
        probabilities=probabilities,
    )
    return write_version(content, repository, 1)


def numbered_labels(word: str, classes: int) -> tuple[str, ...]:
    """Returns `word 0`, `word 1` and so on."""
    return tuple(f"{word} {place}" for place in range(classes))


def use_torchscript(version: Path, config: str = "") -> None:
    """Has the model of a version computed by TorchScript alone, since its durations are torch's.

    Args:
        version: the version's folder.
        config: further contents of config.toml.
    """
    (version.parent / "config.toml").write_text(f'runtime = "torchscript"\n{config}', encoding="utf-8")
