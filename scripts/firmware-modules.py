"""Lists what a firmware file of edk2's is made of: a line for each file of its volumes,
those in compressed sections included: GUID, type, name, and the volume's GUID.

python3 scripts/firmware-modules.py FIRMWARE
"""

import lzma
import sys
import uuid

LZMA = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf")
TYPES = {
    0x01: "raw", 0x02: "freeform", 0x03: "sec", 0x05: "dxe-core", 0x07: "driver",
    0x09: "application", 0x0B: "volume",
}


def number(data, at, size):
    return int.from_bytes(data[at : at + size], "little")


def guid(data, at):
    return uuid.UUID(bytes_le=bytes(data[at : at + 16]))


def header(data, at, small, large):
    """The size of a file or section at `at` of which three bytes are its size."""
    size = number(data, at, 3)
    return (number(data, at + 4, 4), large) if size == 0xFFFFFF else (size, small)


def sections(data):
    """(type, contents) of all sections, out of compressed ones too."""
    at = 0
    while at + 4 <= len(data):
        size, start = header(data, at, 4, 8)
        if size < 4 or at + size > len(data):
            raise ValueError(f"a section of {size} bytes at {at:#x}")
        kind = data[at + 3]
        body = data[at + start : at + size]
        if kind == 0x02:  # guided
            if guid(body, 0) != LZMA:
                raise ValueError(f"a section of an unknown kind, {guid(body, 0)}")
            body = data[at + number(body, 16, 2) : at + size]
            yield from sections(lzma.decompress(body, lzma.FORMAT_ALONE))
        else:
            yield kind, body
        at = (at + size + 3) & ~3


def files(volume, name):
    """(GUID, type, name, volume) of all files of a volume and of volumes in it."""
    length = number(volume, 32, 8)
    at = number(volume, 48, 2)
    extended = number(volume, 52, 2)
    if extended:
        name = str(guid(volume, extended))
        at = extended + number(volume, extended + 16, 4)
    at = (at + 7) & ~7
    while at + 24 <= length:
        if volume[at : at + 24] == b"\xff" * 24:
            break
        kind = volume[at + 18]
        large = volume[at + 19] & 1
        size = number(volume, at + 24, 8) if large else number(volume, at + 20, 3)
        start = 32 if large else 24
        if size < start or at + size > length:
            raise ValueError(f"a file of {size} bytes at {at:#x} of {name}")
        body = volume[at + start : at + size]
        called, inner = "", []
        if kind in (0x02, 0x03, 0x05, 0x07, 0x09, 0x0B):
            for section, contents in sections(body):
                if section == 0x15:
                    called = contents.decode("utf-16-le").rstrip("\0")
                elif section == 0x17:
                    inner.append(contents)
        if kind != 0xF0:
            yield guid(volume, at), kind, called, name
        for contents in inner:
            yield from files(contents, name)
        at = (at + size + 7) & ~7


def volumes(data):
    """Every volume of a flash image."""
    at = 0
    while at + 64 <= len(data):
        if data[at + 40 : at + 44] == b"_FVH" and not sum(
            number(data, at + i, 2) for i in range(0, number(data, at + 48, 2), 2)
        ) & 0xFFFF:
            length = number(data, at + 32, 8)
            # Variables lie in a volume without files.
            if guid(data, at + 16) != uuid.UUID("fff12b8d-7696-4c8b-a985-2747075b4f50"):
                yield data[at : at + length]
            at += length
        else:
            at += 0x1000


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as firmware:
        contents = firmware.read()
    for volume in volumes(contents):
        for file, kind, called, where in files(volume, "?"):
            print(str(file).upper(), TYPES.get(kind, hex(kind)), called or "-", where.upper())
