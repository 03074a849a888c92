"""Files that grow by rows while a run goes on, on a disk that may fill up meanwhile."""

import logging
import pathlib


class AppendedFile:
    """Appends bytes at once and never raises OSError after it was opened.

    What cannot be written waits in memory and goes first the next time, so that no row
    is left out or cut in two. Each time that it begins to wait is told in a line.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._waiting = b""
        self._told = False

    def write(self, data: bytes) -> None:
        """Appends the data, after what waits."""
        self._waiting += data
        try:
            while self._waiting:
                written = self._file.write(self._waiting)
                self._waiting = self._waiting[written:]
            self._told = False
        except OSError as error:
            if not self._told:
                logging.warning(
                    "%s cannot be written (%s); its rows wait in memory",
                    self._path,
                    error.strerror,
                )
            self._told = True

    def close(self) -> None:
        """Tries for the last time to write what waits, and tells if it is lost."""
        self.write(b"")
        if self._waiting:
            logging.warning("%s lacks its last rows", self._path)
        try:
            self._file.close()
        except OSError as error:  # a network disk tells late
            logging.warning("%s may lack rows (%s)", self._path, error.strerror)
