"""Where the files of a data set lie: in an official folder tree, or in its archives."""

import dataclasses
import glob
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping

from jaxseg import errors
from jaxseg.data import archives

Pair = tuple[archives.File, archives.File]  # image, label


@dataclasses.dataclass(frozen=True)
class Glob:
    """Files whose names match a pattern, under the root or in an archive there.

    Of several patterns the first that matches anything counts, in the tree before the
    archive. A file's key is what the pattern's stars stand for: "aachen/aachen_000000".
    """

    archive: str  # .zip or .tar
    patterns: tuple[str, ...]  # as "images/*.jpg"; a star stands for part of one name


@dataclasses.dataclass(frozen=True)
class Found:
    """The files of a Glob by key, and where they were found."""

    files: Mapping[str, archives.File]
    place: pathlib.Path  # the root, or an archive
    pattern: str

    def expected(self, key: str) -> str:
        """Where the file of a key would lie."""
        stars = iter(key.split("/"))
        return f"{self.place}/" + re.sub(
            r"\*", lambda _: next(stars, "*"), self.pattern
        )


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Images and labels that have a key in common.

    At most one of `listed`, `unlisted` and `keep` chooses among them; without, all
    images count. A label without image is no example.
    """

    images: Glob
    labels: Glob
    listed: Glob | None = None  # the keys, each the first word of a line
    unlisted: Glob | None = None  # all labels but those of this list
    keep: Callable[[str], bool] | None = None

    def open(self, root: pathlib.Path, address: str) -> list[Pair]:
        """The files in order of the keys. Raises UserError for what is missing."""
        images, labels = (find(root, g, address) for g in (self.images, self.labels))
        for key in (keys := self._keys(root, address, images, labels)):
            if key not in images.files:
                expected = images.expected(key)
                raise errors.UserError(f"{key} has no image; expected {expected}")
            if key not in labels.files:
                image, expected = images.files[key], labels.expected(key)
                raise errors.UserError(f"{image} has no label; expected {expected}")
        if not keys:
            raise errors.UserError(
                f"{images.place} holds no example of this split; get it from {address}"
            )
        return [(images.files[key], labels.files[key]) for key in keys]

    def _keys(
        self, root: pathlib.Path, address: str, images: Found, labels: Found
    ) -> list[str]:
        if self.listed:
            return sorted(_read_list(root, self.listed, address))
        if self.unlisted:
            listed = _read_list(root, self.unlisted, address)
            return sorted(labels.files.keys() - listed)
        return sorted(filter(self.keep, images.files))


def find(root: pathlib.Path, files: Glob, address: str) -> Found:
    """The files of a data set's root. Raises UserError where there are none."""
    for pattern in files.patterns:
        names = glob.iglob(pattern, root_dir=root)
        if found := _by_key(pattern, ((name, root / name) for name in names)):
            return Found(found, root, pattern)
    archive = root / files.archive
    if archive.is_file():
        members = archives.members(archive)
        for top in ("", _top(members)):
            inside = {name.removeprefix(top): file for name, file in members.items()}
            for pattern in files.patterns:
                if found := _by_key(pattern, inside.items()):
                    return Found(found, archive / top, pattern)
        raise errors.UserError(
            f"{archive} holds no {' or '.join(files.patterns)}; get it from {address}"
        )
    raise errors.UserError(
        f"config.data.root={str(root)!r} holds neither {' nor '.join(files.patterns)} "
        f"nor {files.archive}; get it from {address}"
    )


def _top(members: Iterable[str]) -> str:
    """The folder around all of an archive that was packed anew: "folder/" or ""."""
    tops = {name.partition("/")[0] for name in members} - {"__MACOSX"}
    return f"{tops.pop()}/" if len(tops) == 1 else ""


def check_name(name: str) -> None:
    """Raises UserError if a file's name could steer a terminal that shows it."""
    if not archives.is_plain_name(name):
        raise errors.UserError(
            f"the file {name!r} has control characters in its name; rename it, or do "
            "not trust where it comes from"
        )


def _by_key(
    pattern: str, files: Iterable[tuple[str, archives.File]]
) -> dict[str, archives.File]:
    """What matches, by the parts for the stars; a star matches no hidden name."""
    regex = re.compile(re.escape(pattern).replace(r"\*", r"([^/.\n][^/\n]*)"))
    matches = ((regex.fullmatch(name), file) for name, file in files)
    found = {"/".join(match.groups()): file for match, file in matches if match}
    for key in found:
        check_name(key)
    return found


def _read_list(root: pathlib.Path, files: Glob, address: str) -> set[str]:
    (file,) = find(root, files, address).files.values()
    lines = [
        line.split()
        for line in archives.read(file).decode(errors="replace").splitlines()
    ]
    return {words[0] for words in lines if words}
