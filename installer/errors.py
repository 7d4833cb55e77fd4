"""What can go wrong in the `vic` command, each with the sentence its user reads."""


class InstallerError(Exception):
    """An operation of the `vic` command failed; the message is for its user.

    Every failure that the command foresees is one of these; it is printed without a traceback and
    the command ends with `exit_code`.
    """

    exit_code = 1


class PreconditionError(InstallerError):
    """The machine, or who runs the command, lacks something that `vic` needs."""


class UsageError(InstallerError):
    """What was asked for makes no sense, whatever the machine."""

    exit_code = 2


class NotRunningError(InstallerError):
    """The suite of this data directory is not running."""


class StartError(InstallerError):
    """A process of the suite did not come up."""


class LeftoverError(InstallerError):
    """Something of ours could not be removed."""
