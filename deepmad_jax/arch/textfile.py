"""Text files as people save them: UTF-8, with or without a byte order mark, with any line ends.

Also what stands in a file instead of its contents where a download went wrong. Not the encoding
that the machine happens to prefer: a file means the same everywhere.
"""

import codecs
from pathlib import Path

from deepmad_jax.errors import NotText


def read_text(path: str | Path) -> str:
    """The text of a file, lines ended by ``\\n``, without a byte order mark.

    Raises:
        OSError: it cannot be opened.
        NotText: it is empty, or its bytes are no UTF-8 text.
    """
    return decode(Path(path).read_bytes())


def decode(raw: bytes) -> str:
    """The text that bytes are, as `read_text` gives it; raises `NotText`.

    >>> decode(b"\\xef\\xbb\\xbf{\\r\\n}")
    '{\\n}'
    """
    if not raw.strip(b" \t\r\n\0"):
        raise NotText("The file is empty. Give it its contents again.")
    known = mistaken_for(raw)
    if known is not None:
        raise NotText(f"The file is {known}.")
    # Editors on Windows write UTF-16 with a mark, some tools without: every other byte is 0 then.
    if raw.startswith(_UTF_16_OR_32) or b"\0" in raw[:4]:
        raise NotText(
            "The file is text in UTF-16 or UTF-32; only UTF-8 is read. Save it as UTF-8 (in "
            "PowerShell: Out-File -Encoding utf8)."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotText(
            f"The file is no text in UTF-8: byte {error.start + 1:,} is 0x{raw[error.start]:02x}. "
            "Save it as UTF-8; if it holds no text at all, it is another kind of file."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def mistaken_for(head: bytes) -> str | None:
    """What a file that begins so is instead of what it was meant to be, or None.

    >>> mistaken_for(b"<!DOCTYPE html>")
    'a web page, as a failed download leaves it: download the file again'
    """
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "a web page, as a failed download leaves it: download the file again"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a pointer of Git LFS, not the file itself: fetch it by git lfs pull"
    return None


_UTF_16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Beginnings; UTF-32's little-endian one begins like UTF-16's."""
