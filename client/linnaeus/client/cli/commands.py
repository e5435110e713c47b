"""The complete command line: importing the module of a command adds it to `app`."""

from linnaeus.client.cli.app import app
from linnaeus.client.cli.classify import command as classify
from linnaeus.client.cli.load import command as load
from linnaeus.client.cli.models import command as models

__all__ = ["app", "classify", "load", "models"]
