"""Sources made of other sources: several end to end, or one without what is damaged."""

import dataclasses
from collections.abc import Sequence

from jaxseg import errors
from jaxseg.data import sources


@dataclasses.dataclass(frozen=True)
class Joined:
    """Several data sets' splits as one, end to end.

    Raises UserError if their label values mean different classes.
    """

    parts: Sequence[sources.Stored]

    def __post_init__(self) -> None:
        for part in self.parts:
            if not part.label_map.equals(self.label_map):
                raise errors.UserError(
                    f"the label values of {part.name(0)} mean other classes than those "
                    f"of {self.name(0)}; to mix them, prepare both with --labels=train"
                )

    @property
    def label_map(self) -> sources.LabelMap:
        """That of all parts."""
        return self.parts[0].label_map

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def name(self, index: int) -> str:
        """As its part says."""
        part, within = self._find(index)
        return part.name(within)

    def loaded(self, index: int) -> sources.Files:
        """One example alone, its files in memory."""
        part, within = self._find(index)
        return part.loaded(within)

    def __getitem__(self, index: int) -> sources.Example:
        part, within = self._find(index)
        return part[within]

    def _find(self, index: int) -> tuple[sources.Stored, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)


@dataclasses.dataclass(frozen=True)
class SkipUnreadable:
    """Stands the next readable example in for one that cannot be read."""

    source: sources.Source

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """As the source says."""
        return self.source.name(index)

    def __getitem__(self, index: int) -> sources.Example:
        skipped: tuple[str, ...] = ()
        for offset in range(len(self)):
            try:
                example = self.source[(index + offset) % len(self)]
            except errors.UserError as error:
                skipped += (str(error),)
            else:
                return {**example, "skipped": skipped} if skipped else example
        raise errors.UserError("not one example of the training split can be read")
