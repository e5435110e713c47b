"""The names of the design spaces. Imports no torch: the command line names them before it knows whether it needs it."""

from enum import StrEnum


class Space(StrEnum):
    """A design space; each of A to E adds a restriction to those of the space before it."""

    A = "A"
    """Each of the four stages has its own depth, width, bottleneck ratio and group width."""
    B = "B"
    """All stages have the same bottleneck ratio."""
    C = "C"
    """All stages have the same group width."""
    D = "D"
    """Widths never decrease from stage to stage."""
    E = "E"
    """Depths never decrease from stage to stage."""
    REGNET = "regnet"
    """Quantized linear widths, a bottleneck ratio of 1, and the same group width in all stages."""

    def includes_restriction(self, of: "Space") -> bool:
        """Returns whether networks of this space (A to E) obey the restriction of that space."""
        return self >= of
