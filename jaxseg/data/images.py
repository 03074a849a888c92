"""An image or label file as an array; what Pillow reads, and how much of it."""

import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxseg import errors
from jaxseg.data import archives, plain, png

# What Pillow may read. Others of its readers are rarely tried by anyone, and that of
# EPS starts another program.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
MAX_PIXELS = 2**27  # 11585x11585: 384 MiB in RGB
_LOSSY = ("JPEG", "MPO", "WEBP")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # how its pixels are compressed
# EXIF's orientations. ImageOps.exif_transpose would also write all of the EXIF data
# anew, and fail where some of it is ill-formed.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(file: archives.File) -> UInt8[np.ndarray, "h w 3"]:
    """An image file as RGB, turned as its EXIF orientation says.

    Raises UserError for a file that is missing, damaged, or no 8-bit image.
    """
    content = _read(file)
    pixels = plain.decode_rgb(content)
    if pixels is not None:
        return pixels
    picture = _decode(file, content)
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    picture = picture if turn is None else picture.transpose(turn)
    if picture.mode.startswith(("I", "F")):
        raise errors.UserError(
            f"{file} has mode {picture.mode}, more than 8 bits a channel; convert it "
            "to 8 bits, which Pillow would clip it to"
        )
    return np.asarray(picture.convert("RGB"))


def read_indices(file: archives.File) -> UInt8[np.ndarray, "h w"]:
    """A label file's raw values: 8-bit gray, or palette indices (not the colors).

    Raises UserError for a file that is missing, damaged, or of another kind.
    """
    content = _read(file)
    values = plain.decode_gray(content)
    if values is not None:
        return values
    picture = _decode(file, content)
    if picture.mode not in ("L", "P", "1"):
        raise errors.UserError(
            f"{file} has mode {picture.mode}; a label must be one channel of 8-bit "
            "class indices (gray or palette PNG)"
        )
    if picture.format in _LOSSY or picture.info.get("compression") in _LOSSY_TIFF:
        raise errors.UserError(
            f"{file} is a lossy {picture.format}, its values are changed; make the "
            "label anew as PNG, from what it was made of"
        )
    values = np.asarray(picture).astype(np.uint8)
    return values // png.gray_scale(content) if picture.mode == "L" else values


def is_turned(content: bytes) -> bool:
    """Whether `read_image` turns an image file, which labels never are."""
    if not any(word in content for word in (b"Exif", b"eXIf", b"exif", b"xmp")):
        return False
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return picture.getexif().get(ExifTags.Base.Orientation, 1) in _TURNS
    except Exception:  # reading it tells
        return False


def decode(file: archives.File) -> Image.Image:
    """An image file as Pillow has it.

    Raises UserError if it is missing, damaged, of more than `MAX_PIXELS` pixels or in
    none of `FORMATS`.
    """
    return _decode(file, _read(file))


def _read(file: archives.File) -> bytes:
    try:
        return archives.read(file)
    except FileNotFoundError as error:
        raise errors.UserError(f"{file} does not exist") from error
    except errors.UserError:
        raise
    except Exception as error:  # of a damaged archive: there are many kinds
        raise _unreadable(file, error) from error


def _decode(file: archives.File, content: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)  # its header alone
        if math.prod(picture.size) > MAX_PIXELS:
            raise errors.UserError(
                f"{file} is {picture.height}x{picture.width} (height x width); images "
                f"of more than {MAX_PIXELS} pixels are not read, cut it into parts"
            )
        png.check(content)
        picture.load()
        picture.getexif()  # which is damaged, or is kept by Pillow from here on
    except errors.UserError:
        raise
    except Exception as error:  # Pillow's readers stumble in many ways
        raise _unreadable(file, error) from error
    return picture


def _unreadable(file: archives.File, error: Exception) -> errors.UserError:
    reason = errors.one_line(str(error)) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # which tells an object's address
        reason = f"it is none of {', '.join(FORMATS)}, or begins otherwise"
    return errors.UserError(
        f"{file} cannot be read as an image ({reason}); replace or remove it"
    )
