"""User ids of requests, which arrive as text."""

from typing import Final

from recsys.registry.bundle import Bundle
from recsys.serving.errors import BadUserId, UserNotFound

UserId = int | str
"""As in the shop's data."""
SHOWN: Final = 80
"""Characters of an id that an error shows."""


def parse_user_id(bundle: Bundle, text: str) -> UserId:
    """The id that a text spells; raises BadUserId where it does not fit the type of the shop's ids."""
    users = bundle.snapshot.users
    user_id = users.parse(text) if text else None
    if user_id is None:
        raise BadUserId(f"user_id {text[:SHOWN]!r} does not fit; the ids of this shop are of type {users.kind}")
    return user_id


def user_not_found(text: str, hint: str = "") -> UserNotFound:
    """The error where there is no event of a user; hint: goes behind the message."""
    return UserNotFound(f"user {text[:SHOWN]} not found{hint}")
