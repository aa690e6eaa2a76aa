"""How a file of text writes its rows: delimiter, encoding, and the names of columns where the file has no header."""

import codecs
from typing import Final

from pydantic import field_validator, model_validator

from recsys.schema import Config


class Dialect(Config):
    """Settings of a file of text. Parquet needs none of them; JSON Lines takes the encoding alone."""

    delimiter: str | None = None
    """The text between two columns, of one or more characters, such as `::`. By default that of the file's ending, else
    the one of `,`, `;`, tab and `|` that is most frequent in the first line."""
    encoding: str = "utf-8"
    """The encoding of the text, by a name that Python knows, such as `cp1252` or `utf-16`."""
    header: tuple[str, ...] | None = None
    """The names of the columns of a file without a header line."""

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (not delimiter or set(delimiter) & set('"\r\n\0')):
            raise ValueError("expected one or more characters other than quotes and line ends")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError) as error:
            raise ValueError(f"no encoding of this name: {encoding!r}; expected one such as utf-8 or cp1252") from error
        return encoding

    @model_validator(mode="after")
    def _can_be_written(self) -> "Dialect":
        if self.delimiter is not None:
            self.delimiter.encode(self.encoding)  # a UnicodeError is a ValueError
        return self

    @field_validator("header")
    @classmethod
    def _differ(cls, header: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if header is not None and (not header or len(set(header)) < len(header)):
            raise ValueError("expected one or more names, each once")
        return header


DEFAULT: Final = Dialect()


def is_utf8(encoding: str) -> bool:
    """True if text of this encoding is UTF-8."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def keeps_ascii(encoding: str) -> bool:
    """True if line ends, quotes and delimiters are the bytes that they are in ASCII."""
    return '",;\t|\r\n'.encode(encoding) == b'",;\t|\r\n'
