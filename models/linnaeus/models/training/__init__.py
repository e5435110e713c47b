"""Trains zoo models and keeps the record: digits of MNIST, or a folder of pictures by class.

`data` makes what a network sees of either, `recipe` says how each network is trained, `loop` does it, and `history`
puts the outcome on the disk. Nothing here prints or reads a command line.
"""

from linnaeus.models.training.datasets import Digits, PictureFolder, TrainingData, load_mnist, load_pictures
from linnaeus.models.training.loop import AUXILIARY_WEIGHT, Epoch, evaluate, total_loss, train
from linnaeus.models.training.recipes import Course, Material, Recipe, course_for
from linnaeus.models.training.run_files import record, save_run

__all__ = [
    "AUXILIARY_WEIGHT",
    "Course",
    "Digits",
    "Epoch",
    "Material",
    "PictureFolder",
    "Recipe",
    "TrainingData",
    "course_for",
    "evaluate",
    "load_mnist",
    "load_pictures",
    "record",
    "save_run",
    "total_loss",
    "train",
]
