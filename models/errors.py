"""One tree of exceptions: whatever a user can cause is a ``KwsError`` and reads as one line."""


class KwsError(Exception):
    """Bad input. The message is one line: what is wrong, and what would be right."""


class ModelError(KwsError):
    """A model, or its specification, that does not exist or cannot work."""


class ChainError(KwsError):
    """A chain of compressors that cannot be parsed or cannot work."""


class CorpusError(KwsError):
    """Audio, word lists or splits that cannot be trained on."""


class ResultsError(KwsError):
    """A results table or run folder that cannot be read or written."""


class TaskError(KwsError):
    """A task that cannot be asked of a model."""
