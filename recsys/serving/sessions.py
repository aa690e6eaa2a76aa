"""Sessions of requests: what a visitor did in this visit, in the shop's own ids and words.

A session travels in its request. Nothing of it is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.inference.session_events import DEFAULT_EVENT, NOW, EncodedSession, words_of_log
from recsys.registry.bundle import Bundle
from recsys.schema import EVENT_TYPES, UNKNOWN
from recsys.serving.errors import BadEvent, BadParameter, ItemNotFound
from recsys.serving.user_ids import SHOWN


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """An event as a request tells it.

    item: the id as in the shop's data; event: a word of the shop's log, or one of EVENT_TYPES
    time: ms since 1970 UTC, NOW for the present
    """

    item: int | str
    event: str = DEFAULT_EVENT
    time: int = NOW


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a request, in the order in which the request lists its events.

    known_items: whether an item that the version does not have is an error; else its events are passed over
    """

    events: Sequence[SessionEvent]
    known_items: bool = False


class SessionEncoder:
    """Encodes sessions by the ids and words of a version."""

    def __init__(self, bundle: Bundle) -> None:
        self._items = bundle.items
        self._words = words_of_log(bundle.manifest)

    def __call__(self, session: Session) -> EncodedSession:
        """The session in codes; words of actions that the shop ignores are passed over.

        Raises BadEvent for a word that means no type of event, ItemNotFound or BadParameter for an item that the
        version does not have where the session needs it.
        """
        listed = session.events
        items = self._items.codes([event.item for event in listed])
        if session.known_items:
            self._check_items(listed, items)
        events = np.array([self._type(position, event.event) for position, event in enumerate(listed)], np.int8)
        times = np.array([event.time for event in listed], np.int64)
        used = (items != UNKNOWN) & (events >= 0)
        return EncodedSession(items[used], events[used], times[used], int(np.count_nonzero(items == UNKNOWN)))

    def _type(self, position: int, word: str) -> int:
        code = self._words.code(word)
        if code == UNKNOWN:
            words = ", ".join(dict.fromkeys((*EVENT_TYPES, *self._words.given)))
            problem = f"{word[:SHOWN]!r} is no event of this shop; expected one of {words}"
            raise BadEvent(f"events.{position}.event: {problem}")
        return code

    def _check_items(self, listed: Sequence[SessionEvent], items: np.ndarray) -> None:
        for event, code in zip(listed, items.tolist(), strict=True):
            if code == UNKNOWN:
                shown = str(event.item)[:SHOWN]
                if self._items.kind == "int64" and self._items.parse(str(event.item)) is None:
                    raise BadParameter(f"item_id {shown!r} does not fit; the ids of this shop are of type int64")
                raise ItemNotFound(f"item {shown} not found")
