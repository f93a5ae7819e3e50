"""What a command raises when it cannot do what it was asked for."""


class CommandError(Exception):
    """Something named on the command line is not there."""
