"""Scalars in the event files of TensorBoard, read without it.

An event file is a sequence of records: length (8 bytes), its checksum, data, their checksum. The data are an `Event` in
Protocol Buffers, of which four fields are needed (tensorboard/compat/proto/event.proto, summary.proto, tensor.proto).
"""

import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["event_files", "read_scalars"]

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FLOAT, _DOUBLE = 1, 2  # of tensor.proto's DataType

Curves = dict[str, dict[int, float]]  # tag -> step -> value


def event_files(folder: Path) -> list[Path]:
    """The event files in a folder, in the order of their creation, which their names tell."""
    return sorted(folder.glob("*tfevents*"), key=lambda path: (path.name.split("tfevents.")[-1], path.name))


def read_scalars(files: list[Path]) -> Curves:
    """Read the scalars of one run, written to one or several files as it was started and resumed.

    A later file that goes back (a run resumed from a checkpoint) replaces the steps from there on, as in TensorBoard.

    Raises:
        ValueError: a file is damaged, or two files begin at the same step with different values: two runs in a folder.
    """
    curves: Curves = {}
    for path in files:
        for tag, points in _scalars(path).items():
            curve, start = curves.setdefault(tag, {}), min(points)
            again = {step: value for step, value in curve.items() if step >= start}
            differs = [step for step, value in again.items() if repr(points.get(step)) != repr(value)]
            if differs and len(again) == len(curve):
                raise ValueError(
                    f"{path.parent} holds two runs: its event files both begin at step {start} of {tag!r} and differ "
                    f"at step {differs[0]}; move {path.name} to a folder of its own"
                )
            if differs:
                warnings.warn(
                    f"{path.parent}: {len(differs)} values of {tag!r} from step {start} on give way to those of "
                    f"{path.name}, where the run was resumed",
                    stacklevel=2,
                )
                curves[tag] = curve = {step: value for step, value in curve.items() if step < start}
            curve.update(points)
    return curves


def _scalars(path: Path) -> Curves:
    curves: Curves = {}
    for data in _records(path):
        event = list(_fields(data))
        step = next((_signed(value) for field, kind, value in event if field == 2 and kind == _VARINT), 0)
        for summary in (value for field, kind, value in event if field == 5 and kind == _BYTES):
            for value in (value for field, _, value in _fields(summary) if field == 1):
                tag, number = _tag_and_number(value)
                if number is not None:
                    # Of two values of one step in one file the last counts, as in TensorBoard.
                    curves.setdefault(tag, {})[step] = number
    return curves


def _records(path: Path) -> Iterator[bytes]:
    content, position = path.read_bytes(), 0
    while position < len(content):
        head = content[position : position + 12]
        length = int.from_bytes(head[:8], "little") if len(head) == 12 else 0
        end = position + 16 + length
        if len(head) == 12 and _checksum(head[:8]) != int.from_bytes(head[8:], "little"):
            raise ValueError(f"{path} is damaged, or no event file of TensorBoard: wrong checksum at byte {position}")
        if len(head) < 12 or end > len(content):
            warnings.warn(
                f"{path} ends in the middle of a record: the run was killed or is still writing", stacklevel=2
            )
            return
        data = content[position + 12 : end - 4]
        # Graphs and pictures are large and not read.
        if length < 100_000:
            if _checksum(data) != int.from_bytes(content[end - 4 : end], "little"):
                raise ValueError(f"{path} is damaged: wrong checksum of the record at byte {position}")
            yield data
        position = end


def _tag_and_number(value: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for field, kind, content in _fields(value):
        if field == 1:
            tag = content.decode("utf-8")
        elif field == 2 and kind == _FOUR_BYTES:
            number = float(struct.unpack("<f", content)[0])
        elif field == 8:
            number = _only_element(content)
    return tag, number


def _only_element(tensor: bytes) -> float | None:
    """The number of a tensor without dimensions, float or double; None for any other (text, histograms)."""
    fields = [(field, value) for field, _, value in _fields(tensor)]
    kind = next((int.from_bytes(value, "little") for field, value in fields if field == 1), 0)
    content = b"".join(value for field, value in fields if field in (4, 5, 6))
    code = {_FLOAT: "<f", _DOUBLE: "<d"}.get(kind)
    return float(struct.unpack(code, content)[0]) if code and len(content) == struct.calcsize(code) else None


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Field number, wire type and content of a message; varints as 8 bytes, little-endian."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            number, position = _varint(message, position)
            yield field, kind, number.to_bytes(10, "little")
            continue
        if kind == _BYTES:
            length, position = _varint(message, position)
        else:
            length = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[kind]
        yield field, kind, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position


def _signed(varint: bytes) -> int:
    return int.from_bytes(varint[:8], "little", signed=True)


def _checksum_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _checksum_table()


def _checksum(data: bytes) -> int:
    """CRC-32C (Castagnoli), masked as in record_writer.cc."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
