"""Where a ramp's knee is.

It must not know how the steps were run.
"""

from collections.abc import Sequence

from linnaeus.client.load.results import Spell

SERVED_IN_FULL = 0.98


def knee_of(spells: Sequence[Spell]) -> float | None:
    """The knee of a ramp: the highest rate served in full, as was every lower one.

    A rate is served in full when at least 98 % of the calls sent were ok: in time, and answered as they should be.
    Calls that the tester itself cancelled or spoilt are left out; a step that was interrupted, or at which nothing
    was sent, proves nothing, nor do those above it.

    Args:
        spells: of an open loop, in any order.

    Returns:
        Calls a second; None where even the lowest rate was not served in full.
    """
    knee = None
    for spell in sorted(spells, key=_rate):
        if spell.interrupted or not served_in_full(spell):
            return knee
        knee = spell.rate
    return knee


def served_in_full(spell: Spell) -> bool:
    """Whether at least 98 % of the calls sent were ok."""
    wanted = spell.counts.sent - spell.counts.cancelled - spell.counts.corrupt
    return wanted > 0 and spell.counts.ok >= SERVED_IN_FULL * wanted


def _rate(spell: Spell) -> float:
    return spell.rate or 0.0
