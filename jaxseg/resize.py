"""Bilinear resampling: at once, or a band of rows at a time.

Half-pixel centers without antialiasing, or with corners aligned: both as
torch.nn.functional.interpolate.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

# Values of a band, then the fewest and most rows. On the CPU a band should stay in the
# cache, but 1 to 3 rows take twice the time of 6; its rows are unrolled. Elsewhere it
# should keep the whole device busy.
_LIMITS = {"cpu": (1 << 17, 6, 32)}
_LIMITS_ELSEWHERE = (1 << 26, 1, 1 << 16)


def resize(
    x: Float[Array, "b h w c"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Array, "b y x c"]:
    """Resamples to `size` = (height, width), in the dtype of `x`."""
    options = {"align_corners": align_corners, "dtype": x.dtype}
    rows = interpolation_matrix(x.shape[1], size[0], **options)
    columns = interpolation_matrix(x.shape[2], size[1], **options)
    x = _einsum("yh,bhwc->bywc", rows, x)
    return _einsum("xw,bywc->byxc", columns, x)


def interpolation_matrix(
    size: int, new_size: int, *, align_corners: bool = False, dtype: Any = "float32"
) -> Float[Array, "new old"]:
    """Rows of bilinear weights that resample `size` samples at `new_size` places."""
    low, weight = _places(size, new_size, align_corners)
    return _matrix(low, weight.astype(dtype), size)


def _matrix(low: Array, weight: Array, size: int) -> Float[Array, "new old"]:
    """Rows that mix the samples `low` and the next, `weight` being that of the next."""
    weight, columns = weight[:, None], jnp.arange(size)
    at_low = columns == low[:, None]
    at_high = columns == jnp.minimum(low + 1, size - 1)[:, None]
    return at_low * (1 - weight) + at_high * weight


def _places(size: int, new_size: int, align_corners: bool) -> tuple[Array, Array]:
    """For each new sample the old one before it, and how far it is toward the next.

    Computed in integers, so the weights are exact to rounding (float32 places are off
    by 3e-5 of a pixel at 513).
    """
    i = jnp.arange(new_size)
    if align_corners:
        place, unit = i * (size - 1), max(new_size - 1, 1)
    else:
        place, unit = (2 * i + 1) * size - new_size, 2 * new_size
    place = jnp.clip(place, 0, (size - 1) * unit)
    return place // unit, place % unit / unit


@dataclasses.dataclass(frozen=True)
class Bands:
    """Maps [B h w C] resampled to [B height width C], a band of rows at a time.

    The last band ends at the last row: where the height is no multiple of `rows`, it
    begins with rows that the one before has too.
    Columns are resampled first, for all rows at once: [B h C width], little as h is.
    The width comes last, for reductions over C then run along whole vectors.
    """

    size: tuple[int, int]  # h, w
    new_size: tuple[int, int]  # height, width
    rows: int  # of a band
    align_corners: bool

    @property
    def count(self) -> int:
        """Number of bands."""
        return -(-self.new_size[0] // self.rows)

    def columns(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h c x"]:
        """All rows with their columns resampled, float32 (or float64)."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return _einsum("xw,bhwc->bhcx", self._matrix_of_columns(x.dtype), x)

    def columns_transposed(self, x: Float[Array, "b h c x"]) -> Float[Array, "b h w c"]:
        """The transpose of `columns`: its gradient, from that for what it gave."""
        return _einsum("xw,bhcx->bhwc", self._matrix_of_columns(x.dtype), x)

    def take(self, x: Int[Array, "b y x"], i: Any) -> Int[Array, "b rows x"]:
        """The rows of band `i`."""
        return jax.lax.dynamic_slice_in_dim(x, i * self.rows, self.rows, 1)

    def take_new(
        self, x: Int[Array, "b y x"], i: Any, fill: int
    ) -> Int[Array, "b rows x"]:
        """The same with `fill` in rows that the band before has: for sums over all."""
        row = self._first(i) + jnp.arange(self.rows)
        return jnp.where((row >= i * self.rows)[:, None], self.take(x, i), fill)

    def put(
        self, x: Shaped[Array, "b y x"], rows: Shaped[Array, "b rows x"], i: Any
    ) -> Shaped[Array, "b y x"]:
        """`x` with `rows` for those of band `i`."""
        return jax.lax.dynamic_update_slice_in_dim(x, rows, i * self.rows, 1)

    def band(self, columns: Float[Array, "b h c x"], i: Any) -> Array:
        """Band `i`, float32 [B rows C width]."""
        low, weight = self._places(i)
        weight = weight.astype(columns.dtype)[:, None, None]
        high = jnp.minimum(low + 1, self.size[0] - 1)
        below, above = (jnp.take(columns, at, 1, mode="clip") for at in (low, high))
        return below * (1 - weight) + above * weight

    def add_transposed(self, columns: Array, band: Array, i: Any) -> Array:
        """`columns` plus the transpose of `band` (a gradient) applied to band `i`."""
        height = self.size[0]
        reach = min(height, (self.rows * height - 1) // self.new_size[0] + 3)
        low, weight = self._places(i)
        start = jnp.clip(low[0], 0, height - reach)
        matrix = _matrix(low - start, weight.astype(columns.dtype), reach)
        sums = jax.lax.dynamic_slice_in_dim(columns, start, reach, 1)
        if jax.default_backend() == "cpu":  # 2 to 3 times as fast as a flat product
            for row in range(self.rows):
                sums += matrix[row][:, None, None] * band[:, row : row + 1]
        else:
            sums += _einsum("yh,bycx->bhcx", matrix, band)
        return jax.lax.dynamic_update_slice_in_dim(columns, sums, start, 1)

    def _first(self, i: Any) -> Any:
        """The first row of band `i`, as dynamic slices have it."""
        return jnp.minimum(i * self.rows, self.new_size[0] - self.rows)

    def _places(self, i: Any) -> tuple[Array, Array]:
        """`_places` of the rows of band `i`."""
        low, weight = (
            jax.lax.dynamic_slice_in_dim(x, i * self.rows, self.rows)
            for x in _places(self.size[0], self.new_size[0], self.align_corners)
        )
        return low, weight

    def _matrix_of_columns(self, dtype: Any) -> Float[Array, "x w"]:
        sizes = self.size[1], self.new_size[1]
        return interpolation_matrix(
            *sizes, align_corners=self.align_corners, dtype=dtype
        )


def make_bands(
    shape: Sequence[int], new_size: Sequence[int], *, align_corners: bool = False
) -> Bands:
    """Bands for maps of `shape` = (B, h, w, C), as high as a device likes them."""
    b, h, w, c = shape
    height, width = new_size
    values, fewest, most = _LIMITS.get(jax.default_backend(), _LIMITS_ELSEWHERE)
    values *= jax.device_count()  # which share the batch
    rows = min(max(fewest, values // (b * width * c)), most, height)
    count = -(-height // rows)
    return Bands((h, w), (height, width), -(-height // count), align_corners)


def argmax(x: Float[Array, "b y c x"]) -> Int[Array, "b y x"]:
    """The first place of the largest value along the third axis, int32.

    Two reductions that run along vectors on the CPU, which jnp.argmax does not.
    """
    places = jnp.arange(x.shape[2], dtype=jnp.int32)[:, None]
    at_largest = x == x.max(2, keepdims=True)
    return jnp.where(at_largest, places, x.shape[2] - 1).min(2)


def _einsum(subscripts: str, matrix: Array, x: Array) -> Array:
    """A product with weights; float32 is not rounded to less on any device."""
    precision = None if x.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    return jnp.einsum(subscripts, matrix, x, precision=precision)
