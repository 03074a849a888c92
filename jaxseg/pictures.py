"""Class maps as pictures: index files, overlays and side-by-side panels.

Everywhere `image` is UInt8[h w 3] (RGB, 0..255), a class map is UInt8[h w] with values
0..C-1 or IGNORE, `names` has C entries and `palette` C (red, green, blue) of 0..255.
"""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxseg import errors

IGNORE = 255
PAPER = (255, 255, 255)
INK = (32, 32, 32)
OUTLINE = (128, 128, 128)

Palette = Sequence[Sequence[int]]


def default_palette(num_classes: int) -> list[tuple[int, int, int]]:
    """Distinct colors for up to 255 classes, none of them black.

    Class i gets color i + 1 of the PASCAL VOC color map (VOClabelcolormap.m of the VOC
    development kit), whose color 0 is black; here black means ignored.
    """
    if not 0 <= num_classes <= IGNORE:
        raise errors.UserError(
            f"{num_classes} classes do not fit: 8-bit labels hold 0 to {IGNORE} "
            f"classes beside the ignore value {IGNORE}; merge some classes"
        )
    return [_voc_color(index + 1) for index in range(num_classes)]


def color(
    classes: UInt8[np.ndarray, "h w"], palette: Palette
) -> UInt8[np.ndarray, "h w 3"]:
    """The palette's color of each pixel, 0..255; ignored pixels are black."""
    shown = classes[classes != IGNORE]
    if shown.size and shown.max() >= len(palette):
        raise errors.UserError(
            f"class {shown.max()} has no color: the palette has {len(palette)} colors; "
            "give one for each class"
        )
    return _color_table(palette)[classes]


def present(*maps: UInt8[np.ndarray, "_ _"]) -> list[int]:
    """The classes found in the maps together, most pixels first (ties: lower first)."""
    counts = sum(
        (np.bincount(classes.ravel(), minlength=256) for classes in maps),
        start=np.zeros(256, np.int64),
    )
    counts[IGNORE] = 0
    order = np.argsort(-counts, kind="stable")
    return [int(index) for index in order if counts[index]]


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    classes: UInt8[np.ndarray, "h w"],
    names: Sequence[str],
    palette: Palette,
    alpha: float = 0.5,
) -> Image.Image:
    """The image with its classes blended in, above a legend of those present.

    `alpha` is the weight of the class color, 0..1. Ignored pixels stay as they are. The
    picture's own pixels are at the top left, at their own size.
    """
    blend = np.rint((1 - alpha) * image + alpha * color(classes, palette))
    shown = np.where((classes == IGNORE)[..., None], image, blend.astype(np.uint8))
    height, width = classes.shape
    size = max(12, max(height, width) // 48)
    legend = _legend(present(classes), names, palette, width=width, size=size)
    return _stack([Image.fromarray(shown), legend])


def panel(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"] | None,
    prediction: UInt8[np.ndarray, "h w"],
    names: Sequence[str],
    palette: Palette,
) -> Image.Image:
    """Image, label (if there is one) and prediction side by side, above one legend."""
    maps = {"label": label, "prediction": prediction}
    known = {title: classes for title, classes in maps.items() if classes is not None}
    pictures = {"image": image}
    pictures |= {title: color(classes, palette) for title, classes in known.items()}

    # Small pictures grow by whole pixels: their captions need the room.
    scale = math.ceil(192 / image.shape[1])
    gap = max(4, scale * image.shape[1] // 64)
    width = len(pictures) * (scale * image.shape[1] + gap) - gap
    size = max(12, width // 72)
    columns = [
        _stack([_caption(title, size), _enlarge(picture, scale)])
        for title, picture in pictures.items()
    ]
    legend = _legend(present(*known.values()), names, palette, width=width, size=size)
    return _stack([_row(columns, gap), legend])


def save_indices(
    path: pathlib.Path, classes: UInt8[np.ndarray, "h w"], palette: Palette
) -> None:
    """Writes an 8-bit palette PNG whose values are the classes themselves."""
    picture = Image.fromarray(classes)
    # All 256 entries: with fewer, Pillow would pack several pixels into a byte.
    picture.putpalette(_color_table(palette).tobytes())
    save_image(path, picture)


def save_image(path: pathlib.Path, image: Image.Image) -> None:
    """Writes the picture in the format of the path's suffix, all of it or nothing."""
    with atomic_path(path) as temporary:
        image.save(temporary)


@contextlib.contextmanager
def atomic_path(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside `path` to write to; it replaces `path` if the block succeeds.

    An OSError that names no file, as that of a full disk, is given this one's name.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _voc_color(index: int) -> tuple[int, int, int]:
    """Bits 0, 3, 6 of the index fill red from its highest bit down, and so on."""
    red, green, blue = (
        sum((index >> 3 * bit + channel & 1) << 7 - bit for bit in range(3))
        for channel in range(3)
    )
    return red, green, blue


def _color_table(palette: Palette) -> UInt8[np.ndarray, "256 3"]:
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    table[IGNORE] = 0
    return table


def _legend(
    indices: Sequence[int],
    names: Sequence[str],
    palette: Palette,
    *,
    width: int,
    size: int,
) -> Image.Image:
    """A swatch and a name for each class, in lines of `width` pixels.

    The strip is wider where the picture is too small for text.
    """
    if not indices:
        return Image.new("RGB", (0, 0))
    width = max(width, 20 * size)
    font = ImageFont.load_default(size)
    # A name is one line of text, whatever it holds.
    texts = [" ".join(names[index].split()) for index in indices]
    spots, right, x, y = [], width, size // 2, size // 2
    for text in texts:
        advance = math.ceil(1.5 * size + font.getlength(text) + size)
        if x > size // 2 and x + advance > width:
            x, y = size // 2, y + math.ceil(1.6 * size)
        spots.append((x, y))
        x += advance
        right = max(right, x)
    strip = Image.new("RGB", (right, y + 2 * size), PAPER)
    draw = ImageDraw.Draw(strip)
    for (x, y), text, index in zip(spots, texts, indices, strict=True):
        red, green, blue = palette[index]
        box = (x, y, x + size, y + size)
        draw.rectangle(box, fill=(red, green, blue), outline=OUTLINE)
        middle = (x + 1.5 * size, y + size / 2)
        draw.text(middle, text, fill=INK, font=font, anchor="lm")
    return strip


def _caption(text: str, size: int) -> Image.Image:
    font = ImageFont.load_default(size)
    strip = Image.new("RGB", (math.ceil(font.getlength(text)), 2 * size), PAPER)
    ImageDraw.Draw(strip).text((0, size), text, fill=INK, font=font, anchor="lm")
    return strip


def _enlarge(picture: UInt8[np.ndarray, "h w 3"], scale: int) -> Image.Image:
    return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    """The parts one below the other, left aligned."""
    size = max(part.width for part in parts), sum(part.height for part in parts)
    canvas, y = Image.new("RGB", size, PAPER), 0
    for part in parts:
        canvas.paste(part, (0, y))
        y += part.height
    return canvas


def _row(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """The parts one beside the other, `gap` pixels apart, top aligned."""
    width = sum(part.width + gap for part in parts) - gap
    canvas = Image.new("RGB", (width, max(part.height for part in parts)), PAPER)
    x = 0
    for part in parts:
        canvas.paste(part, (x, 0))
        x += part.width + gap
    return canvas
