"""Points that the files leave open, so that a person has to decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recsys.errors import DataError

SHOWN: Final = 12
"""Largest number of choices in a message."""
GUIDE: Final = "see 'What has to be converted first' in docs/how-to/your-data.md"
"""Where a person reads how files become readable, if no setting helps."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """A setting that the files do not tell.

    setting: its key, such as `data.events.columns.user`; "" if the files have to be converted first
    problem: one sentence without its end
    choices: values that the setting may take, as YAML writes them
    """

    setting: str
    problem: str
    choices: tuple[str, ...] = ()


class UnclearError(DataError):
    """A person has to decide something before the data can be read.

    unclear: all points that are open
    """

    def __init__(self, message: str, unclear: tuple[Unclear, ...] = ()) -> None:
        super().__init__(message)
        self.unclear = unclear


def refuse(unclear: Sequence[Unclear], source: str) -> None:
    """Raise UnclearError that names the first point that is unclear; source: the data as the person named it."""
    if unclear:
        first = unclear[0]
        more = f" ({len(unclear) - 1} more in its output)" if len(unclear) > 1 else ""
        advice = f"; set {first.setting}, or run: recsys inspect --data {source}" if first.setting else ""
        message = f"{first.problem}{advice}{more}"
        raise UnclearError(" ".join(message.splitlines()), tuple(unclear))  # a name may have a line break


def listed(choices: Sequence[str]) -> str:
    """The choices in one text, the first SHOWN of them."""
    rest = len(choices) - SHOWN
    return ", ".join(choices[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
