"""Examines a model file: what it is, and all that is found out about it."""

from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.activation import Activation
from linnaeus.models.manifest import InputSpec
from linnaeus.models.own_model.file_kind import FileKind, identify
from linnaeus.models.own_model.finding import Finding, Severity, note, problem
from linnaeus.models.own_model.normalization import normalization_fault
from linnaeus.models.own_model.onnx_graph import normalized_already, read_onnx, takes_pixels
from linnaeus.models.own_model.onnx_trial import try_onnx
from linnaeus.models.own_model.torchscript_file import describe_torchscript, load_torchscript
from linnaeus.models.own_model.trial_run import Usage, prepare_network, try_network

_AS_IN_TRAINING = "say what it was trained with"
_NO_SIZE = problem("was not run, because its size is not known", "say --size, such as --size 224")


@dataclass(frozen=True, slots=True)
class Intent:
    """What the user says about the model so far; None for what is not said.

    Attributes:
        input: how images are prepared for it.
        channels: of its input.
        mean, std: normalization per channel, for pixels scaled to 0..1.
        labels: one label per class.
        activation: what is put after it.
        features: names the features among its outputs.
    """

    input: InputSpec | None
    channels: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    labels: tuple[str, ...] | None
    activation: Activation | None
    features: str | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What a file is, in a few words, and what was found out about it.

    Attributes:
        description: what it is.
        findings: what was found out.
        normalizes: whether it normalizes the pixels itself, and takes no mean and no deviation.
    """

    description: str
    findings: tuple[Finding, ...]
    normalizes: bool = False

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What keeps it from being imported."""
        return tuple(each for each in self.findings if each.severity is Severity.PROBLEM)


def examine(path: Path, intent: Intent) -> Examination:
    """Recognizes the file; runs it if it is TorchScript or ONNX and its size is known.

    Raises:
        FileNotFoundError: if there is no file.
        OSError: if it cannot be read.
        RuntimeError: if it is ONNX, and a package for it is not installed.
        ValueError: if it is TorchScript or ONNX that cannot be loaded.
    """
    identity = identify(path)
    if identity.kind is FileKind.ONNX:
        return _examine_onnx(path, identity.description, intent)
    if identity.kind is not FileKind.TORCHSCRIPT:
        return Examination(identity.description, (problem("is neither TorchScript nor ONNX", identity.advice),))
    module = load_torchscript(path)
    found = _normalization(intent)
    if intent.input is None:
        found.append(_NO_SIZE)
    else:
        prepared = prepare_network(module, intent.input)
        found += [prepared.finding] if prepared.finding else []
        found += try_network(prepared.module, _usage(intent, intent.input))
    return Examination(describe_torchscript(path, module), tuple(found))


def _examine_onnx(path: Path, description: str, intent: Intent) -> Examination:
    model = read_onnx(path)
    normalizes = takes_pixels(model)
    if normalizes:
        found = [normalized_already()] if intent.mean is not None or intent.std is not None else []
    else:
        found = _normalization(intent)
    if intent.input is None:
        found.append(_NO_SIZE)
    else:
        found += try_onnx(model, _usage(intent, intent.input))
    return Examination(description, tuple(found), normalizes)


def _normalization(intent: Intent) -> list[Finding]:
    given = (("mean", intent.mean), ("std", intent.std))
    found = [
        problem(f"would get wrong pixels: {fault.partition('; ')[0]}", fault.partition("; ")[2] or _AS_IN_TRAINING)
        for option, values in given
        if values is not None and (fault := normalization_fault(option, values, intent.channels))
    ]
    if missing := [f"--{option}" for option, values in given if values is None]:
        found.append(note(f"is run without {' and '.join(missing)}", _AS_IN_TRAINING))
    return found


def _usage(intent: Intent, spec: InputSpec) -> Usage:
    """Replaces a mean or deviation that is missing or cannot be right by one that changes nothing."""
    mean, std = intent.mean, intent.std
    if mean is None or normalization_fault("mean", mean, intent.channels):
        mean = (0.0,) * intent.channels
    if std is None or normalization_fault("std", std, intent.channels):
        std = (1.0,) * intent.channels
    return Usage(spec, mean, std, intent.labels, intent.activation, intent.features)
