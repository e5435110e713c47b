"""Int8 versions for tests, made as the zoo makes them, from few pictures."""

from pathlib import Path

from linnaeus.models.quantization.quantize import QuantizationOptions, quantize


def add_int8_version(repository: Path, model: str, pictures: Path) -> Path:
    """Adds an int8 version of a model's newest one, whatever its agreement; returns its folder."""
    folder, _ = quantize(QuantizationOptions(repository, model, pictures, accept=True))
    return folder
