"""Trains models of the zoo on MNIST or on folders of images by class.

`datasets` prepares the images, `recipes` has the hyperparameters of each network, `loop` trains, and `run_files` writes
weights, record and plot. Nothing here prints or parses a command line.
"""

from linnaeus.models.training.datasets import Digits, ImageFiles, LabeledImages, load_image_folders, load_mnist
from linnaeus.models.training.loop import AUXILIARY_LOSS_WEIGHT, Epoch, evaluate, total_loss, train
from linnaeus.models.training.recipes import DataKind, Recipe, TrainingSetup, training_setup
from linnaeus.models.training.run_files import save_run, training_record

__all__ = [
    "AUXILIARY_LOSS_WEIGHT",
    "TrainingSetup",
    "Digits",
    "Epoch",
    "DataKind",
    "ImageFiles",
    "Recipe",
    "LabeledImages",
    "training_setup",
    "evaluate",
    "load_mnist",
    "load_image_folders",
    "training_record",
    "save_run",
    "total_loss",
    "train",
]
