"""Missing: the placeholder for a value that an experiment does not have."""

import enum


class Missing(enum.Enum):
    """The placeholder for a value that an experiment does not have."""

    ABSENT = ""
    """Nothing: not even None, which a config may hold."""

    UNREADABLE = "unreadable"
    """There is a file, and it cannot be read."""

    def __str__(self) -> str:
        return self.value


ABSENT, UNREADABLE = Missing
