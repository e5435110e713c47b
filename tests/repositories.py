"""Repositories for tests: the same small network under other names, versions and labels, valid or damaged."""

import hashlib
import json
import shutil
from pathlib import Path

import torch

from linnaeus.models.manifest import InputSpec, check_pixels


class Raising(torch.nn.Module):
    """Passes its check, but raises for batches of two or more."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.size(0) > 1:
            raise RuntimeError("this model does not like company")
        return torch.softmax(pixels.flatten(1)[:, :10].to(torch.float32), dim=1)


def add_version(source: Path, root: Path, name: str, version: int, labels: str = "", spoilt: str = "") -> Path:
    """Adds a version as the zoo does: written to a hidden folder, then renamed; replaces an existing version.

    Args:
        source: the version folder to copy.
        root: the repository.
        name: name of the model.
        version: version number.
        labels: prefix for each label of the source, so that answers of different versions can be told apart.
        spoilt: how to damage the version; see `spoil`. Empty for not at all.
    """
    written, old, final = (root / name / each for each in (f".new-{version}", f".old-{version}", str(version)))
    written.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, written)
    _rewrite(written, {"name": name, "version": version})
    lines = (written / "labels.txt").read_text().splitlines()
    (written / "labels.txt").write_text("".join(f"{labels}{line}\n" for line in lines))
    if spoilt:
        spoil(written, spoilt)
    if final.exists():
        final.rename(old)
    written.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return final


def spoil(folder: Path, how: str) -> None:
    """Damages a version so that it is refused: a `corrupt` file, `wrong labels`, or a model that `raises`."""
    if how == "wrong labels":
        (folder / "labels.txt").write_text("one\n")
    elif how == "corrupt":
        content = bytearray((folder / "model.pt").read_bytes())
        content[len(content) // 2] ^= 255
        (folder / "model.pt").write_bytes(bytes(content))
    elif how == "raises":
        _replace_model(folder, torch.jit.script(Raising()))
    else:
        raise ValueError(how)


def _replace_model(folder: Path, module: torch.jit.ScriptModule) -> None:
    torch.jit.save(module, str(folder / "model.pt"))
    manifest = json.loads((folder / "manifest.json").read_text())
    spec = InputSpec(**manifest["input"])
    pixels = torch.frombuffer(bytearray(check_pixels(spec, manifest["check"]["seed"])), dtype=torch.uint8)
    image = pixels.view(1, spec.height, spec.width, spec.channels).permute(0, 3, 1, 2)
    check = manifest["check"] | {"probabilities": module(image)[0].tolist()}
    _rewrite(folder, {"check": check, "sha256": hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()})


def _rewrite(folder: Path, changes: dict[str, object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
