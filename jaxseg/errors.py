"""The one exception whose message is meant for the user."""


class UserError(Exception):
    """A mistake of the user's (config, file, label, weights), told in one line.

    The message names the value, what was expected and what to do. The command line
    prints it as `error: ...` and exits with status 1; no traceback is shown.
    """


class Stalled(UserError):
    """Data did not come. Threads hang that must not be awaited at the end."""
