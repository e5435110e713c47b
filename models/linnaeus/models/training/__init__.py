"""Trains zoo models and keeps the record: digits of MNIST, or a folder of pictures by class.

`data` makes what a network sees of either, `recipe` says how each network is trained, `loop` does it, and `history`
puts the outcome on the disk. Nothing here prints or reads a command line.
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
