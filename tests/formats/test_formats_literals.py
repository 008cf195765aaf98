"""The small codes, byte by byte."""

import pytest
from bundle_writer import crc32c, masked

from fastlstm.errors import FormatError
from fastlstm.formats.checksum import check_crc32c, extend_crc32c, mask
from fastlstm.formats.ordered_code import encode_signed, encode_string, encode_unsigned, slice_key
from fastlstm.formats.snappy import decompress
from fastlstm.formats.varint import read_varint


@pytest.mark.parametrize(
    ("data", "bits", "value", "end"),
    [
        ("00", 64, 0, 1),
        ("7f", 64, 127, 1),
        ("80 01 55", 64, 128, 2),
        ("ac 02", 32, 300, 2),
        ("ff ff ff ff 0f", 32, 2**32 - 1, 5),
        ("ff ff ff ff ff ff ff ff ff 01", 64, 2**64 - 1, 10),
    ],
)
def test_varint(data, bits, value, end):
    assert read_varint(bytes.fromhex(data), 0, len(bytes.fromhex(data)), "x", bits) == (value, end)


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        ("", 64),
        ("80", 64),
        ("ff ff ff ff 1f", 32),
        ("80 80 80 80 80 00", 32),
        ("ff ff ff ff ff ff ff ff ff 02", 64),
        ("ff " * 20, 64),
    ],
)
def test_varint_refused(data, bits):
    with pytest.raises(FormatError, match=r"file: .*byte 0"):
        read_varint(bytes.fromhex(data), 0, len(bytes.fromhex(data)), "file", bits)


def test_varint_never_reads_past_its_end():
    with pytest.raises(FormatError):
        read_varint(b"\x80\x01", 0, 1, "file")


def test_crc32c():
    assert extend_crc32c(0, b"123456789") == crc32c(b"123456789") == 0xE3069283  # the published check value
    assert extend_crc32c(extend_crc32c(0, b"1234"), b"56789") == 0xE3069283
    assert mask(0) == 0xA282EAD8
    assert mask(0xE3069283).to_bytes(4, "little") == masked(b"123456789")
    with pytest.raises(FormatError, match=r"here: checksum c78.{5}, expected 00000007; the file is damaged"):
        check_crc32c(0xE3069283, 7, "here")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "80"),
        (3, "83"),
        (16, "90"),
        (63, "bf"),
        (64, "c040"),
        (250, "c0fa"),
        (308, "c134"),
        (-1, "7f"),
        (-64, "40"),
        (-65, "3fbf"),
        (2**61, "ffa0" + 7 * "00"),
        (2**62, "ffc040" + 7 * "00"),
        (2**63 - 1, "ffc07f" + 7 * "ff"),
        (-(2**63), "003f80" + 7 * "00"),
    ],
)
def test_ordered_code_signed(value, code):
    assert encode_signed(value).hex() == code


def test_ordered_code():
    assert [encode_unsigned(value).hex() for value in (0, 2, 256)] == ["00", "0102", "020100"]
    assert encode_string(b"a\0\xffb").hex() == "6100ffff00620001"
    expected = b"\0rnn/lstm_cell/kernel\0\x01\x01\x02\x80\x83\x80\x90"
    assert slice_key(b"rnn/lstm_cell/kernel", [(0, 3), (0, 16)]) == expected
    assert slice_key(b"scalar", []) == b"\0scalar\0\x01\0"


def test_ordered_code_sorts_as_integers_do():
    values = sorted({sign * (1 << bit) + extra for bit in range(62) for sign in (-1, 1) for extra in (-1, 0, 1)})
    assert sorted(values, key=encode_signed) == values


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("00", b""),
        ("03 08 616263", b"abc"),
        ("07 00 61 09 01 00", None),  # a copy with a one-byte offset of 1: 4 + 2 bytes
        ("07 00 61 09 01", b"aaaaaaa"),
        ("08 04 6162 16 02 00", b"abababab"),
        ("08 04 6162 17 02 00 00 00", b"abababab"),
        ("3d f0 3c" + "7a" * 61, b"z" * 61),
        ("3d f4 3c 00" + "7a" * 61, b"z" * 61),
        ("3d f8 3c 00 00" + "7a" * 61, b"z" * 61),
        ("3d fc 3c 00 00 00" + "7a" * 61, b"z" * 61),
        ("01 00", None),  # literal without its byte
        ("02 00 61", None),  # less than declared
        ("01 04 6162", None),  # more than declared
        ("05 01 01", None),  # copy from before the start
        ("06 00 61 05 00", None),  # offset 0
        ("06 00 61 05", None),  # copy without its offset
        ("3d f4 3c", None),  # length cut
        ("ff ff ff ff 0f 00", None),  # 4 GB declared
        ("80 80 80 80 80", None),
        ("", None),
    ],
)
def test_snappy(data, expected):
    if expected is None:
        with pytest.raises(FormatError, match="file"):
            decompress(bytes.fromhex(data), "file")
    else:
        assert decompress(bytes.fromhex(data), "file") == expected


def test_snappy_at_its_best_expansion():
    copies = 1000
    data = bytes.fromhex("81f403") + b"\0a" + bytes.fromhex("fe0100") * copies
    assert decompress(data, "file") == b"a" * (64 * copies + 1)
