"""TFRecord files of `tf.train.Example` without TensorFlow.

PyPI's `tfrecord` (1.14.6) skips the checksums, trusts a damaged length and ends at the first bad record. The frame is
simple (github.com/tensorflow/tensorflow, core/lib/io/record_writer.h), so it is read here, with `google-crc32c` for
the checksums and `protobuf` for the message inside; both are Google's own packages.

    uint64 length | uint32 masked CRC-32C of the length | bytes | uint32 masked CRC-32C of the bytes  (little endian)
"""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")

# tensorflow/core/example/{example,feature}.proto. A map field is on the wire what a repeated field of entries is.
_PROTO = """
name: "heie_example.proto" package: "heie" syntax: "proto3"
message_type { name: "Bytes" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "Floats" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Ints" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".heie.Bytes" }
  field { name: "float_list" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".heie.Floats" }
  field { name: "int64_list" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".heie.Ints" } }
message_type { name: "Entry"
  field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".heie.Feature" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".heie.Entry" } }
message_type { name: "Example"
  field { name: "features" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".heie.Features" } }
"""


@cache
def _example_class() -> type:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("heie.Example"))


def masked_crc(content: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord files store it."""
    import google_crc32c

    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record_offsets(file: BinaryIO) -> Iterator[int]:
    """Where the records begin.

    Raises:
        ValueError: where a record's head is damaged or the file ends within it: what follows cannot be found.
    """
    size, offset = file.seek(0, 2), 0
    while offset < size:
        length = _length(file, offset)
        yield offset
        offset += _HEADER.size + length + _FOOTER.size


def _length(file: BinaryIO, offset: int) -> int:
    file.seek(offset)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise ValueError("the file is cut off here")
    length, crc = _HEADER.unpack(header)
    if crc != masked_crc(header[:8]):
        raise ValueError("the record's length is damaged: it and all after it cannot be read")
    return length


def read_example(file: BinaryIO, offset: int) -> dict[str, list[Any]]:
    """The features of the record at `offset`: name to a list of bytes, floats or integers.

    Raises:
        ValueError: it is cut off, its checksum is wrong, or it is no `tf.train.Example`.
    """
    from google.protobuf.message import DecodeError

    length = _length(file, offset)
    content, footer = file.read(length), file.read(_FOOTER.size)
    if len(footer) < _FOOTER.size:
        raise ValueError("the file is cut off within the record")
    if _FOOTER.unpack(footer)[0] != masked_crc(content):
        raise ValueError("the record is damaged: its checksum is wrong")
    try:
        example = _example_class().FromString(content)
    except DecodeError as error:
        raise ValueError(f"is no tf.train.Example: {error}") from None
    return {entry.key: _values(entry.value) for entry in example.features.feature}


def _values(feature: Any) -> list[Any]:
    return [*feature.bytes_list.value, *feature.float_list.value, *feature.int64_list.value]
