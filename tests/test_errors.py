"""Text that a terminal shows and does not obey."""

import pytest

from jaxseg import errors

STEERING = ["\x1b[2J", "\x00", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\ud800"]


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_is_shown_by_its_code(text):
    assert not errors.is_plain(f"a{text}b")
    shown = errors.one_line(f"a{text}b")
    assert errors.is_plain(shown)
    assert shown.isascii()
    assert shown.startswith(("a\\x", "a\\u"))
    assert shown.endswith("b")


@pytest.mark.parametrize("text", ["a\nb", "a\r\n b", "a\u2028b", "a\tb", "a\x85b"])
def test_white_space_is_one_blank(text):
    assert not errors.is_plain(text)
    assert errors.one_line(text) == "a b"


@pytest.mark.parametrize("text", ["Straße 道路", "[red]x[/red]", "a\u200cb", "🚗"])
def test_other_text_stays(text):
    assert errors.is_plain(text)
    assert errors.one_line(text) == text
