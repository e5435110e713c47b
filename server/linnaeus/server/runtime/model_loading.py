"""Loads a model version: reads and checks it, selects its runtime, its precision and its largest batch, warms it up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from linnaeus.models.model_format import MODEL_FILES
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import Artifact, check_recorded, read_artifact, refusal
from linnaeus.server.runtime.calibration_images import generated_pictures, recorded_pictures
from linnaeus.server.runtime.check_picture import check_picture
from linnaeus.server.runtime.device_preferences import describe_specialisation, fast_precisions
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_formats import usable_runtimes
from linnaeus.server.runtime.openvino_conversion import openvino_precisions
from linnaeus.server.runtime.openvino_runner import AT_ONCE, OpenVinoRunner
from linnaeus.server.runtime.out_of_memory import FAILURES
from linnaeus.server.runtime.remembered_choices import Choice, RememberedChoices
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.runner_factory import RunnerOptions, capture_graphs, open_runner
from linnaeus.server.runtime.variant_selection import ComparisonPictures, OpenVariant, select_variant
from linnaeus.server.runtime.variants import AUTO, FLOAT32, INT8, OPENVINO, TORCHSCRIPT, Requested, Variant

# Larger batches gained no model anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}
_RECORDED = (FLOAT32, INT8)  # what a recorded run may be in; both need no instructions of their own
# The batch sizes at which variants are timed against one another: a lone image, and a batch as under load.
_TIMED_SIZES = {"cpu": (1, 8), "cuda": (1, 32)}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a version is to be computed.

    Attributes:
        runtime: torchscript, openvino, onnxruntime, or auto for the fastest that agrees with the recorded run.
        precision: float32, bfloat16, float16, or auto for the fastest that agrees with float32.
        cuda_graphs: whether to capture CUDA graphs on a GPU, if the model can be captured.
        threads: cores that a batch which runs alone may use on a CPU.
        on_one_core: whether the load itself may use one only, because others are busy.
        memory_factor: memory of OpenVINO's compiled models at most, as a multiple of the weights.
        cache_folder: where compiled models and choices are kept between starts; empty for nowhere.
    """

    runtime: str = AUTO
    precision: str = FLOAT32
    cuda_graphs: bool = False
    threads: int = field(default_factory=torch.get_num_threads)
    on_one_core: bool = False
    memory_factor: float = 2.0
    cache_folder: str = ""


def load_model(
    folder: Path,
    device: torch.device,
    max_batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
    before_warm_up: Callable[[], None] = lambda: None,
    options: LoadOptions | None = None,
    served_as: str = "",
) -> Model:
    """Reads, checks, loads, specialises and warms up a version.

    Args:
        folder: `<root>/<model>/<version>`.
        device: the device to run on.
        max_batch_size: the largest batch size; 0 finds the size beyond which throughput stops growing.
        clock: time in seconds, for measuring batches.
        before_warm_up: called before a runtime starts threads and before the warm-up, perhaps several times.
        options: how it is to be computed.
        served_as: see `read_artifact`.

    Raises:
        ModelRefused: if a check fails, the device has too little memory, or what the options ask for is not available.
    """
    options = options or LoadOptions()
    artifact = read_artifact(folder, served_as)
    requested = Requested(options.runtime, _precision(artifact, options.precision))
    variants = _candidates(artifact, device, requested)
    choices = _choices(artifact, device, max_batch_size, options)
    remembered = choices.find() if len(variants) > 1 else None
    if remembered and (variant := Variant(remembered.runtime, remembered.precision)) in variants:
        variants = [variant]
    else:
        remembered = None
    load = _Load(artifact, device, max_batch_size, clock, before_warm_up, options)
    openers: dict[Variant, OpenVariant[_Candidate]] = {each: partial(_Candidate, load, each) for each in variants}
    # An int8 version is judged by its recorded run alone: what it was made of is another version.
    reference = next((each for each in variants if each.precision in _RECORDED), None)
    pictures = ComparisonPictures(recorded_pictures(artifact), generated_pictures(artifact.manifest.input))
    try:
        selected = select_variant(
            requested,
            openers[reference] if reference else partial(_Candidate, load, _reference(artifact, variants)),
            openers,
            pictures,
            clock,
        )
    except FAILURES as error:
        raise refusal(error, "fails at warm-up", device, artifact.manifest.model_file) from error
    model = selected.model.model
    choice = remembered or Choice(*selected.variant, selected.runtime_reason, selected.precision_reason)
    if AUTO in requested and not remembered and not options.on_one_core:
        choices.keep(choice)
    model.specialisation = describe_specialisation(
        device, selected.variant, choice.runtime_reason, choice.precision_reason
    )
    model.most_at_once = AT_ONCE if selected.variant.runtime == OPENVINO else 0
    return model


def _choices(artifact: Artifact, device: torch.device, max_batch_size: int, options: LoadOptions) -> RememberedChoices:
    manifest = artifact.manifest
    return RememberedChoices(
        options.cache_folder,
        *(manifest.sha256, manifest.check, manifest.calibration, device, max_batch_size),
        *(options.runtime, options.precision, options.threads, options.memory_factor, options.cuda_graphs),
    )


def _precision(artifact: Artifact, requested: str) -> str:
    """Returns the precision to compute in; a quantized version has its own, whatever is asked of the model."""
    quantization = artifact.manifest.quantization
    return quantization.precision if quantization else requested


def _candidates(artifact: Artifact, device: torch.device, requested: Requested) -> list[Variant]:
    """Returns the variants that may be chosen, the one that is preferred if none is faster first.

    Raises:
        ModelRefused: if there is none.
    """
    runtimes = usable_runtimes(artifact.manifest, device, requested.runtime)
    variants = []
    for precision in _precisions(device) if requested.precision == AUTO else [requested.precision]:
        for runtime in runtimes:
            if precision in _RECORDED or _has_precision(runtime, precision):
                variants.append(Variant(runtime, precision))
    if not variants:
        raise ModelRefused(
            f"{' and '.join(runtimes)} cannot compute in {requested.precision} on this processor; precision must be "
            "float32, or runtime another one"
        )
    return variants


def _has_precision(runtime: str, precision: str) -> bool:
    """Whether a runtime may compute in another precision than float32; ONNX Runtime computes as the file says."""
    return runtime == TORCHSCRIPT or (runtime == OPENVINO and precision in openvino_precisions())


def _precisions(device: torch.device) -> list[str]:
    return [FLOAT32, *fast_precisions(device)]


def _reference(artifact: Artifact, variants: Sequence[Variant]) -> Variant:
    """Returns the variant in float32 whose answers the candidates, none of which is in float32, are compared with."""
    runtimes = [variant.runtime for variant in variants]
    return Variant(TORCHSCRIPT if TORCHSCRIPT in runtimes else runtimes[0], FLOAT32)


@dataclass(frozen=True, slots=True)
class _Load:
    """The arguments of `load_model` that apply to every variant."""

    artifact: Artifact
    device: torch.device
    max_batch_size: int
    clock: Callable[[], float]
    before_warm_up: Callable[[], None]
    options: LoadOptions

    @property
    def largest(self) -> int:
        """The largest batch size, or the largest that is tried."""
        return self.max_batch_size or LARGEST_BATCH_TRIED[self.device.type]

    @property
    def timed_sizes(self) -> list[int]:
        """The batch sizes at which variants are timed."""
        return sorted({min(size, self.largest) for size in _TIMED_SIZES[self.device.type]})

    @property
    def weights_bytes(self) -> int:
        """The size of the weights: that of the files, of which they are nearly all."""
        manifest = self.artifact.manifest
        return sum((self.artifact.folder / name).stat().st_size for name in MODEL_FILES[manifest.model_format])


class _Candidate:
    """Implements `VariantModel`: a model in one variant, which may be discarded for another."""

    def __init__(self, load: _Load, variant: Variant) -> None:
        self._load = load
        self._runner = open_runner(
            load.artifact,
            load.device,
            load.largest,
            variant,
            RunnerOptions(
                load.before_warm_up,
                load.weights_bytes,
                load.options.memory_factor,
                load.options.cache_folder,
            ),
        )
        self.model = Model(load.artifact, load.device, self._runner, load.largest)
        if variant.precision in _RECORDED:
            try:
                picture = check_picture(load.artifact.manifest)
                check_recorded(load.artifact.manifest, self.model.probabilities([picture])[0])
            except BaseException:
                self._runner.close()
                raise

    @property
    def memory_bytes(self) -> int:
        """The memory of the weights; see `VariantModel`."""
        return self._runner.memory_bytes if isinstance(self._runner, OpenVinoRunner) else self._load.weights_bytes

    @property
    def timed_sizes(self) -> Sequence[int]:
        """The batch sizes at which variants are timed; see `VariantModel`."""
        return self._load.timed_sizes

    def probabilities(self, images: Sequence[Pixels]) -> list[list[float]]:
        """Runs the first picture alone, since a large first batch may not fit into memory; see `VariantModel`.

        The rest run in pairs: a converted model that kept the batch size of its example would give itself away.
        """
        pairs = [images[:1], *(images[place : place + 2] for place in range(1, len(images), 2))]
        size = min(2, self._load.largest)
        batches = pairs if size == 2 else [[image] for image in images]
        return [answer for batch in batches if batch for answer in self.model.probabilities(batch)]

    def run(self, size: int) -> None:
        """Runs a batch of blank images; see `VariantModel`."""
        self.model.run_blank(size)

    def warm(self) -> None:
        """Finds the largest batch to form, and captures graphs if requested; see `VariantModel`."""
        load, model = self._load, self.model
        load.before_warm_up()
        timings = model.warm_up(load.max_batch_size == 0, load.clock)
        self._runner.keep_sizes([timing.size for timing in timings])
        if load.options.cuda_graphs and capture_graphs(self._runner):
            timings = Model(load.artifact, load.device, self._runner, timings[-1].size).warm_up(False, load.clock)
        self.model = Model(load.artifact, load.device, self._runner, timings[-1].size, timings)

    def close(self) -> None:
        """Closes the runner; see `VariantModel`."""
        self._runner.close()
