"""Event files as TensorBoard reads them."""

import struct

from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from jaxseg import tensorboard


def read(path):
    """The events of a file, by TensorFlow's description of the format."""
    data, events = path.read_bytes(), []
    while data:
        length, checksum = struct.unpack("<QI", data[:12])
        assert checksum == record_writer.masked_crc32c(data[:8])
        message = data[12 : 12 + length]
        end = 12 + length + 4
        (checksum,) = struct.unpack("<I", data[12 + length : end])
        assert checksum == record_writer.masked_crc32c(message)
        events.append(event_pb2.Event.FromString(message))
        data = data[end:]
    return events


def test_events(tmp_path):
    file = tensorboard.EventFile(tmp_path / "tb", first_step=21)
    file.write(22, {"train/loss": 0.5, "train/lr": 2.0})
    (path,) = (tmp_path / "tb").glob("events.out.tfevents.*")
    first, start, row = read(path)  # written at once
    file.close()
    assert first.file_version == "brain.Event:2"
    assert start.session_log.status == event_pb2.SessionLog.START
    assert start.step == 21
    assert row.step == 22
    values = {value.tag: value.simple_value for value in row.summary.value}
    assert values == {"train/loss": 0.5, "train/lr": 2.0}
