"""Says a message of the library in the words of the command line: options instead of arguments."""

import re

# What the library says, and what the command line has for it.
_WORDS = (
    (re.compile(r"\bpass tls=True\b"), "use --tls"),
    (re.compile(r"\bpass token=(?!\w)"), "use --token-file, or set LINNAEUS_TOKEN"),
    (re.compile(r"\bthe file for token_file\b"), "the file for --token-file"),
    (re.compile(r"\btls: the file for (ca|certificate|key)\b"), r"the file for --tls-\1"),
    (re.compile(r"^token must be\b"), "the token must be"),
    (re.compile(r"\braise max_message_bytes here and at the server\b"), "raise the server's --max-message-bytes"),
)


def with_option_names(message: str) -> str:
    """Returns the message with the names that the command line has."""
    for pattern, words in _WORDS:
        message = pattern.sub(words, message)
    return message
