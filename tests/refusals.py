"""How errors that a user can mend are told."""

import pytest

from jaxseg import errors


def refuse(act, *arguments, **options):
    """The one line of the UserError that a call raises."""
    with pytest.raises(errors.UserError) as raised:
        act(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message
