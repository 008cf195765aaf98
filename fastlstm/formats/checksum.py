"""CRC32C, the checksum of fastlstm's own files, and masked, of TensorFlow's tables and bundles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError


def extend_crc32c(checksum: int, data: bytes | NDArray[np.uint8]) -> int:
    """CRC32C (Castagnoli) of what `checksum` covers followed by `data`; start with 0."""
    try:
        import google_crc32c
    except ImportError as error:
        raise FormatError(
            "the package google-crc32c, which makes the checksums, is not installed: pip install google-crc32c"
        ) from error
    return google_crc32c.extend(checksum, data)


def mask(checksum: int) -> int:
    """The form in which a checksum is stored.  Source: tensorflow/core/lib/hash/crc32c.h."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def check_crc32c(checksum: int, stored: int, where: str) -> None:
    """Raises FormatError unless `stored` is the masked form of `checksum`."""
    got = mask(checksum)
    if got != stored:
        raise FormatError(f"{where}: checksum {got:08x}, expected {stored:08x}; the file is damaged or truncated")
