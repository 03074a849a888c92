"""The one exception whose message is meant for the user, and text safe to show."""

import re

# What could steer a terminal or reorder a line: controls, line separators, marks of
# writing direction, and halves of characters, which no encoding can print.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(Exception):
    """A mistake of the user's (config, file, label, weights), told in one line.

    The message names the value, what was expected and what to do. The command line
    prints it as `error: ...` and exits with status 1; no traceback is shown.
    """


class Stalled(UserError):
    """Data did not come. Threads hang that must not be awaited at the end."""


def is_plain(text: str) -> bool:
    r"""Whether a text can be shown as it is: no `\x1b`, newline or turned direction."""
    return _STEERING.search(text) is None


def one_line(text: str) -> str:
    r"""The text for a terminal: white space as one blank, the rest as `\x1b`."""
    return _STEERING.sub(
        lambda found: found[0].encode("unicode_escape").decode(), " ".join(text.split())
    )
