"""Which replica a balancer sends the next request to. A balancer sees its own requests in flight and nothing else."""

import random
from collections.abc import Callable, Iterable
from typing import Protocol


class Policy(Protocol):
    """Chooses replicas, which are numbered from 0."""

    def pick(self, other_than: int = -1) -> int:
        """Returns a replica that is not ejected, and not `other_than` unless there is no other."""

    def began(self, replica: int) -> None:
        """Counts a request that was sent to the replica."""

    def ended(self, replica: int) -> None:
        """Counts the end of one."""

    def eject(self, replica: int) -> None:
        """Leaves the replica out; at least one other must be left."""

    def restore(self, replica: int) -> None:
        """Takes an ejected replica in again."""


NewPolicy = Callable[[random.Random, int], Policy]


class Members:
    """A set of numbers of which a random one is found at once."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = list(numbers)
        self._places = {number: place for place, number in enumerate(self._numbers)}

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def add(self, number: int) -> None:
        """Adds a number that is not in it."""
        self._places[number] = len(self._numbers)
        self._numbers.append(number)

    def remove(self, number: int) -> None:
        """Removes a number that is in it."""
        place, last = self._places.pop(number), self._numbers.pop()
        if last != number:
            self._numbers[place] = last
            self._places[last] = place

    def draw(self, chance: random.Random) -> int:
        """Returns a random number of it."""
        return self._numbers[int(chance.random() * len(self._numbers))]

    def draw_other(self, chance: random.Random, than: int) -> int:
        """Returns a random number of it that is not `than`, unless there is no other."""
        if than not in self._places or len(self._numbers) == 1:
            return self.draw(chance)
        while (drawn := self.draw(chance)) == than:
            pass
        return drawn


class RoundRobin:
    """One after the other, from a random one on: balancers that start together do not go in step."""

    def __init__(self, chance: random.Random, replicas: int) -> None:
        self._replicas = replicas
        self._last = chance.randrange(replicas)
        self._ejected: set[int] = set()

    def pick(self, other_than: int = -1) -> int:
        """Returns the next replica."""
        for _ in range(self._replicas):
            self._last = (self._last + 1) % self._replicas
            if self._last not in self._ejected and self._last != other_than:
                return self._last
        return other_than

    def began(self, replica: int) -> None:
        """Counts nothing."""

    def ended(self, replica: int) -> None:
        """Counts nothing."""

    def eject(self, replica: int) -> None:
        """Leaves it out of the turns."""
        self._ejected.add(replica)

    def restore(self, replica: int) -> None:
        """Takes it in again."""
        self._ejected.discard(replica)


class LeastOfChoices:
    """The one with the fewest requests in flight of some that are drawn at random, the first of equals.

    Two are the default of Envoy's least request and of Ray Serve; one is a random choice.
    """

    def __init__(self, chance: random.Random, replicas: int, choices: int = 2) -> None:
        self._chance = chance
        self._choices = choices
        self._in_flight = [0] * replicas
        self._members = Members(range(replicas))

    def pick(self, other_than: int = -1) -> int:
        """Returns the best of so many drawn ones."""
        members, chance, in_flight = self._members, self._chance, self._in_flight
        best = members.draw_other(chance, other_than)
        for _ in range(self._choices - 1):
            drawn = members.draw_other(chance, other_than)
            if in_flight[drawn] < in_flight[best]:
                best = drawn
        return best

    def began(self, replica: int) -> None:
        """Counts a request."""
        self._in_flight[replica] += 1

    def ended(self, replica: int) -> None:
        """Counts the end of one."""
        self._in_flight[replica] -= 1

    def eject(self, replica: int) -> None:
        """Draws it no more."""
        self._members.remove(replica)

    def restore(self, replica: int) -> None:
        """Draws it again."""
        self._members.add(replica)


class LeastOfAll:
    """The one with the fewest requests in flight of all, a random one of equals (Envoy's full scan)."""

    def __init__(self, chance: random.Random, replicas: int) -> None:
        self._chance = chance
        self._in_flight = [0] * replicas
        self._levels = [Members(range(replicas))]  # by the number of requests in flight
        self._ejected: set[int] = set()

    def pick(self, other_than: int = -1) -> int:
        """Returns a random one of the lowest level."""
        for level in self._levels:
            if len(level) > (other_than in level):
                return level.draw_other(self._chance, other_than)
        return other_than

    def began(self, replica: int) -> None:
        """Counts a request."""
        self._move(replica, 1)

    def ended(self, replica: int) -> None:
        """Counts the end of one."""
        self._move(replica, -1)

    def eject(self, replica: int) -> None:
        """Takes it out of its level."""
        self._levels[self._in_flight[replica]].remove(replica)
        self._ejected.add(replica)

    def restore(self, replica: int) -> None:
        """Puts it back into its level."""
        self._ejected.discard(replica)
        self._levels[self._in_flight[replica]].add(replica)

    def _move(self, replica: int, change: int) -> None:
        level = self._in_flight[replica]
        self._in_flight[replica] = level + change
        if level + change == len(self._levels):
            self._levels.append(Members())
        if replica not in self._ejected:
            self._levels[level].remove(replica)
            self._levels[level + change].add(replica)


def random_choice(chance: random.Random, replicas: int) -> Policy:
    """Returns a policy that looks at nothing."""
    return LeastOfChoices(chance, replicas, choices=1)


POLICIES: dict[str, NewPolicy] = {
    "random": random_choice,
    "round robin": RoundRobin,
    "least of 2": LeastOfChoices,
    "least of all": LeastOfAll,
}
