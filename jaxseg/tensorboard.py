"""TensorBoard's event files, written at once and without a thread.

The format is TensorFlow's: records (tensorflow/core/lib/io/record_writer.h: length,
checksum of it, data, checksum of it) of Event messages (core/util/event.proto).
"""

import os
import pathlib
import platform
import struct
import time
from collections.abc import Mapping
from typing import Any

from tensorboardX import record_writer
from tensorboardX.proto import event_pb2, summary_pb2

from jaxseg import appended

_event: Any = event_pb2  # generated when imported, so no checker knows its names
_summary: Any = summary_pb2


class EventFile:
    """A new file of events in `folder`; what the others hold from `first_step` on is
    hidden by TensorBoard.
    """

    def __init__(self, folder: pathlib.Path, *, first_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now)}.{platform.node()}.{os.getpid()}"
        self._file = appended.AppendedFile(folder / name)
        self._append(_event.Event(wall_time=now, file_version="brain.Event:2"))
        start = _event.SessionLog(status=_event.SessionLog.START)
        self._append(_event.Event(wall_time=now, step=first_step, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends the value of each name at this step."""
        values = [
            _summary.Summary.Value(tag=name, simple_value=value)
            for name, value in scalars.items()
        ]
        summary = _summary.Summary(value=values)
        self._append(_event.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Writes out what is pending."""
        self._file.close()

    def _append(self, event: Any) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", record_writer.masked_crc32c(data))
