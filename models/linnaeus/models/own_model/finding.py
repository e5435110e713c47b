"""What `linnaeus-zoo check` finds out about a model file, one sentence each."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters; a PROBLEM keeps the model from being imported."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out.

    Attributes:
        severity: how much it matters.
        text: what was found, in words that complete "it …".
        advice: what to do; may be empty.
    """

    severity: Severity
    text: str
    advice: str = ""


def ok(text: str) -> Finding:
    """Returns a finding that is as it should be."""
    return Finding(Severity.OK, text)


def note(text: str, advice: str = "") -> Finding:
    """Returns a finding that the user may want to look into."""
    return Finding(Severity.NOTE, text, advice)


def problem(text: str, advice: str) -> Finding:
    """Returns a finding that keeps the model from being imported."""
    return Finding(Severity.PROBLEM, text, advice)


class Unusable(Exception):
    """A model cannot be run as it must; nothing more can be found out than `finding`."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding
