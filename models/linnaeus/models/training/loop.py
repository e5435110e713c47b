"""The training loop and the evaluation of a network."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.training.datasets import LabeledImages
from linnaeus.models.training.recipes import Recipe
from linnaeus.models.zoo_model import ZooModel

# Weight of the loss of each auxiliary head (Szegedy et al., 2014, section 5).
AUXILIARY_LOSS_WEIGHT = 0.3
_EVALUATION_BATCH = 100


@dataclass(frozen=True, slots=True)
class Epoch:
    """The metrics of one epoch; accuracies are between 0 and 1.

    Loss and accuracy of the training are means over the batches, each measured before its step. With auxiliary heads,
    the loss is the weighted sum.
    """

    number: int
    training_loss: float
    training_accuracy: float
    test_accuracy: float
    seconds: float


def train(
    model: ZooModel,
    training: LabeledImages,
    test: LabeledImages,
    recipe: Recipe,
    on_epoch: Callable[[Epoch], None],
    on_step: Callable[[], None] = lambda: None,
    build: Callable[[int], nn.Module] | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Trains a new network for the data's classes; returns it in evaluation mode with the metrics of each epoch.

    Args:
        model: decides network, input and normalization.
        training: the training images.
        test: the images for the test accuracy after each epoch.
        recipe: the hyperparameters.
        on_epoch: called after each epoch.
        on_step: called after each batch.
        build: builds the network to train, which may return a tuple of logits and auxiliary logits; the model's own
            if None.
    """
    torch.manual_seed(recipe.seed)
    network = (build or model.build)(len(training.labels))
    training, test = training.resized(model.input), test.resized(model.input)
    trainer = _Trainer(network, recipe, recipe.epochs * recipe.steps_per_epoch(len(training)), on_step)
    history = []
    for number in range(1, recipe.epochs + 1):
        started = time.monotonic()
        loss, accuracy = _train_one_epoch(trainer, model, training)
        epoch = Epoch(number, loss, accuracy, evaluate(network, model, test), time.monotonic() - started)
        history.append(epoch)
        on_epoch(epoch)
    return network.eval(), history


def evaluate(network: nn.Module, model: ZooModel, data: LabeledImages) -> float:
    """Returns the accuracy, between 0 and 1; leaves the network in evaluation mode."""
    network.eval()
    resized, correct = data.resized(model.input), 0
    with torch.inference_mode():
        for indices in torch.split(torch.arange(len(data)), _EVALUATION_BATCH):
            pixels, classes = resized.batch(indices)
            correct += int((network(_normalize(pixels, model)).argmax(1) == classes).sum())
    return correct / len(data)


def total_loss(outputs: Tensor | tuple[Tensor, ...], classes: Tensor) -> Tensor:
    """Returns the cross-entropy of the logits [N, classes] plus 0.3 times that of each auxiliary head's logits."""
    logits, *auxiliary = (outputs,) if isinstance(outputs, Tensor) else outputs
    loss = functional.cross_entropy(logits, classes)
    for head in auxiliary:
        loss = loss + AUXILIARY_LOSS_WEIGHT * functional.cross_entropy(head, classes)
    return loss


class _Trainer:
    """Optimizes a network batch by batch with AdamW and a one-cycle learning rate."""

    def __init__(self, network: nn.Module, recipe: Recipe, steps: int, on_step: Callable[[], None]) -> None:
        peak = recipe.peak_learning_rate
        self.network = network
        self.recipe = recipe
        self._on_step = on_step
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=recipe.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, peak, total_steps=steps)

    def step(self, images: Tensor, classes: Tensor) -> tuple[float, int]:
        """Takes one step; returns the mean loss and the number of correct predictions of the batch before the step."""
        outputs = self.network(images)
        loss = total_loss(outputs, classes)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self._on_step()
        logits = outputs if isinstance(outputs, Tensor) else outputs[0]
        return loss.item(), int((logits.argmax(1) == classes).sum())


def _train_one_epoch(trainer: _Trainer, model: ZooModel, training: LabeledImages) -> tuple[float, float]:
    trainer.network.train()
    loss_sum, correct = 0.0, 0
    for pixels, classes in _shuffled_batches(training, trainer.recipe):
        loss, batch_correct = trainer.step(_normalize(pixels, model), classes)
        loss_sum += loss * len(classes)
        correct += batch_correct
    return loss_sum / len(training), correct / len(training)


def _shuffled_batches(data: LabeledImages, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches of all images in random order, randomly shifted."""
    for indices in torch.split(torch.randperm(len(data)), recipe.batch_size):
        pixels, classes = data.batch(indices)
        yield _random_shift(pixels, recipe.largest_shift_pixels), classes


def _random_shift(pixels: Tensor, largest: int) -> Tensor:
    """Shifts a batch by up to `largest` pixels in each direction; the new border is black."""
    down, right = (int(step) for step in torch.randint(0, 2 * largest + 1, (2,)))
    height, width = pixels.shape[2:]
    return functional.pad(pixels, [largest] * 4)[:, :, down : down + height, right : right + width]


def _normalize(pixels: Tensor, model: ZooModel) -> Tensor:
    # Not `pixel_classifier.normalize`, which rounds differently: a seed must repeat the recorded trainings.
    mean = torch.tensor(model.mean).view(1, -1, 1, 1)
    std = torch.tensor(model.std).view(1, -1, 1, 1)
    return (pixels.to(torch.float32) / 255 - mean) / std
