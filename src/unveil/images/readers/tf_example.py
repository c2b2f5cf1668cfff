"""The protobuf message ``tf.train.Example``, without TensorFlow.

The descriptor is built here from the public definition (tensorflow/core/example/feature.proto). The map of features is
declared as its wire format, a list of entries, and names as bytes: a name that is no UTF-8 then damages no record.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from unveil.errors import ImageError
from unveil.images.unread import SHOWN_CHARACTERS
from unveil.io.text import printable

Value = int | float
PACKAGE = "unveil.tensorflow"
# More numbers than this are no shape and no label.
MAX_NUMBERS = 2**16
# Byte strings of one feature.
MAX_BYTE_STRINGS = 1000

# Bytes of a message by which the encodings of writers differ.
MAX_DROPPED = 64


@cache
def _example_class(*, packed: bool = True) -> Any:
    """The message class of ``tf.train.Example``, whose lists of numbers are written packed or number by number."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    Field = descriptor_pb2.FieldDescriptorProto  # noqa: N806
    file = descriptor_pb2.FileDescriptorProto(name="unveil/example.proto", package=PACKAGE, syntax="proto3")
    numbers = (Field.TYPE_FLOAT, Field.TYPE_INT64)

    def message(name: str, *fields: tuple[str, int, Any, bool], oneof: str | None = None) -> None:
        described = file.message_type.add(name=name)
        if oneof is not None:
            described.oneof_decl.add(name=oneof)
        for field, number, kind, repeated in fields:
            added = described.field.add(name=field, number=number)
            added.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                added.type = kind
            if kind in numbers:
                added.options.packed = packed
            if oneof is not None:
                added.oneof_index = 0

    message("BytesList", ("value", 1, Field.TYPE_BYTES, True))
    message("FloatList", ("value", 1, Field.TYPE_FLOAT, True))
    message("Int64List", ("value", 1, Field.TYPE_INT64, True))
    message(
        "Feature",
        ("bytes_list", 1, "BytesList", False),
        ("float_list", 2, "FloatList", False),
        ("int64_list", 3, "Int64List", False),
        oneof="kind",
    )
    message("Entry", ("key", 1, Field.TYPE_BYTES, False), ("value", 2, "Feature", False))
    message("Features", ("feature", 1, "Entry", True))
    # A tf.train.SequenceExample has a second field.
    message("Example", ("features", 1, "Features", False), ("feature_lists", 2, Field.TYPE_BYTES, True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Example"))


def _is_unpacked(data: bytes) -> bool:
    """Whether a message is, to the byte, what writers make that do not pack numbers: each then takes a byte more."""
    example = _example_class(packed=False).FromString(data)
    example.DiscardUnknownFields()
    return bool(example.SerializeToString() == data)


def parse_example(data: bytes) -> dict[str, bytes | list[Value]]:
    """The features of a ``tf.train.Example`` by name: bytes, or numbers; ImageError when the message is damaged.

    The first of several byte strings is ``NAME``, and the others are ``NAME[1]`` and so on, so that each can be chosen.
    Lists of numbers are cut after `MAX_NUMBERS` and one more.
    """
    from google.protobuf.message import DecodeError

    try:
        example = _example_class().FromString(data)
    except DecodeError as error:
        raise ImageError("read", "damaged record", f"no tf.train.Example ({error})") from None
    if example.feature_lists:
        raise ImageError("read", "several images in the record", "a tf.train.SequenceExample; write one for each image")
    # Unknown fields, and all but the last of what a message may hold once, are dropped: they may be images.
    example.DiscardUnknownFields()
    dropped = len(data) - example.ByteSize()
    if dropped > MAX_DROPPED and not _is_unpacked(data):
        raise ImageError(
            "read",
            "damaged record",
            f"expected features alone, found {dropped} bytes that are none; write it again with TensorFlow or tfrecord",
        )
    features: dict[str, bytes | list[Value]] = {}
    for entry in example.features.feature:
        name = entry.key.decode("utf-8", "backslashreplace")
        kind = entry.value.WhichOneof("kind")
        if kind is None:
            continue
        if name in features:
            raise ImageError("read", "damaged record", f"two features are called {printable(name)[:SHOWN_CHARACTERS]}")
        values = getattr(entry.value, kind).value
        if kind != "bytes_list":
            features[name] = list(values[: MAX_NUMBERS + 1])
            continue
        if len(values) > MAX_BYTE_STRINGS:
            raise ImageError("read", "damaged record", f"a feature of {len(values)} byte strings")
        features[name] = values[0] if len(values) else b""
        features.update({f"{name}[{k}]": value for k, value in enumerate(values[1:], 1)})
    return features
