"""What became of one picture: an answer or an error, both with the picture's name as it was given."""

from dataclasses import dataclass
from typing import Any

from linnaeus.client.errors import LinnaeusError
from linnaeus.client.results import Classification


@dataclass(frozen=True, slots=True)
class Answered:
    """The server answered.

    Attributes:
        picture: the path as it was given.
        result: the answer.
        milliseconds: from reading the picture to having the answer.
        trained: whether the model was trained; None where the server did not say.
        copied_to: where `--sort-into` put a copy; None where it put none.
    """

    picture: str
    result: Classification
    milliseconds: float
    trained: bool | None = None
    copied_to: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
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
        } | ({} if self.copied_to is None else {"copied_to": self.copied_to})


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer."""

    picture: str
    error: LinnaeusError

    @property
    def message(self) -> str:
        """The error's sentence without the picture's name, which stands in front of it wherever it is shown."""
        return str(self.error).removeprefix(f"{self.picture}: ")

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"picture": self.picture, "error": {"type": type(self.error).__name__, "message": self.message}}


Outcome = Answered | Failed
