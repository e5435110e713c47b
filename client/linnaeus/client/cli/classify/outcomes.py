"""The outcome of one image as the command shows it, with the image's name as it was given."""

from dataclasses import dataclass
from typing import Any

from linnaeus.client.cli.connection_help import Explanation
from linnaeus.client.cli.option_names import with_option_names
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.results import Classification


@dataclass(frozen=True, slots=True)
class Classified:
    """An image with an answer.

    Attributes:
        picture: the path as it was given.
        result: the answer.
        milliseconds: from reading the image to having the answer.
        trained: whether the model is trained; None if the server does not say.
        copied_to: the path of the copy that `--sort-into` made; None for no copy.
    """

    picture: str
    result: Classification
    milliseconds: float
    trained: bool | None = None
    copied_to: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the object that `--json` prints."""
        answer = self.result.to_dict()
        return {
            "picture": self.picture,
            "model": answer["model"],
            "version": answer["version"],
            "trained": self.trained,
            "classes": answer["classes"],
            "batch_size": answer["batch_size"],
            "timings": answer["timings"],
            "milliseconds": round(self.milliseconds, 3),
            **({"features": answer["features"]} if "features" in answer else {}),
            **({} if self.copied_to is None else {"copied_to": self.copied_to}),
        }


@dataclass(frozen=True, slots=True)
class Failed:
    """An image without an answer.

    Attributes:
        picture: the path as it was given.
        error: why.
        explanation: the error in the words of the command line; None for an error of the image itself.
    """

    picture: str
    error: LinnaeusError
    explanation: Explanation | None = None

    @property
    def message(self) -> str:
        """The error's message without the image's name, which precedes it wherever it is shown."""
        if self.explanation is not None:
            return self.explanation.message
        return with_option_names(str(self.error)).removeprefix(f"{self.picture}: ")

    @property
    def concerns_all(self) -> bool:
        """Whether any other image would fail by the same cause."""
        return self.explanation is not None and self.explanation.concerns_all

    def to_dict(self) -> dict[str, Any]:
        """Returns the object that `--json` prints."""
        return {"picture": self.picture, "error": {"type": type(self.error).__name__, "message": self.message}}


CommandOutcome = Classified | Failed
