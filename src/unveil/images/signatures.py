"""First bytes of the formats of images."""

from __future__ import annotations

JPEG, PNG, RIFF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM"
GIF = (b"GIF87a", b"GIF89a")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Brands of the ISO container of AVIF and HEIC, in bytes 8 to 12.
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1")
# A pattern of netpbm with two sides: what stands between its words ends with a space or with the line of a comment, and
# nothing is tried twice.
_BETWEEN = rb"(?:\s|#[^\r\n]*+[\r\n])++"
NETPBM = rb"P[1-6]" + _BETWEEN + rb"\d++" + _BETWEEN + rb"\d++[\s#]"
# A pattern of TIFF, BMP and netpbm, whose signatures are too short to count anywhere but at the start. The dot matches
# every byte.
AT_START = rb"II[*+]\0|MM\0[*+]|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|" + NETPBM
