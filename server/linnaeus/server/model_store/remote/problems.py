"""What is wrong with a repository at present: each sentence is logged when it begins to hold, and once it ends."""

import logging

from linnaeus.server.model_store.repository_statistics import RepositoryStatistics

logger = logging.getLogger(__name__)


class Problems:
    """The sentences by subject. Belongs to the copying thread.

    Args:
        repository: the repository, as messages name it.
        statistics: receives the number of failures.
    """

    def __init__(self, repository: str, statistics: RepositoryStatistics) -> None:
        self._repository = repository
        self._statistics = statistics
        self._sentences: dict[str, str] = {}

    def reasons(self) -> dict[str, str]:
        """Returns what holds, by subject."""
        return dict(self._sentences)

    def add(self, subject: str, sentence: str, level: int = logging.ERROR) -> None:
        """Notes a problem; logs it unless the last one of the subject was the same."""
        if self._sentences.get(subject) != sentence:
            logger.log(level, "repository %s: %s: %s", self._repository, subject, sentence)
        self._sentences[subject] = sentence

    def fail(self, subject: str, sentence: str) -> None:
        """Notes a problem that is an error, and counts it each time."""
        self._statistics.failures += 1
        self.add(subject, sentence)

    def end(self, subject: str) -> None:
        """Notes that a subject has no problem."""
        if self._sentences.pop(subject, None) is not None:
            logger.info("repository %s: %s: it is well again", self._repository, subject)

    def forget_all_but(self, subjects: set[str]) -> None:
        """Forgets the problems of other subjects, which no longer exist."""
        self._sentences = {each: sentence for each, sentence in self._sentences.items() if each in subjects}
