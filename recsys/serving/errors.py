"""Errors of a request: the client gets the text, with the status of the error's class."""

from typing import ClassVar, Final

from recsys.errors import RecsysError


class HttpError(RecsysError):
    """A request cannot be answered; `status` is the status code of the response."""

    status: ClassVar[int] = 500

    @property
    def detail(self) -> str:
        return str(self)


class BadUserId(HttpError):
    """The id of a user is not of the type of the shop's ids."""

    status = 400


class BadParameter(HttpError):
    """A parameter is unknown or given twice."""

    status = 400


class BadEvent(HttpError):
    """An event of a session cannot be understood."""

    status = 400


class UserNotFound(HttpError):
    """There is no event of the user."""

    status = 404


class BadItem(HttpError):
    """The id of an item or of a category is not of the type of the shop's ids."""

    status = 400


class ItemNotFound(HttpError):
    """There is no item with this id."""

    status = 404


class CategoryNotFound(HttpError):
    """There is no category with this id."""

    status = 404


class BodyTooSlow(HttpError):
    """The body of a request did not come in time."""

    status = 408


class BodyTooLarge(HttpError):
    """The body of a request has too many bytes."""

    status = 413


class Unavailable(HttpError):
    """The service, a stage or the source of histories cannot answer now; the request may be repeated.

    reason: the label of the metric that counts these errors
    """

    status = 503
    reason: ClassVar[str] = "unavailable"


class NotReady(Unavailable):
    """There is no version, or no valid rules file, yet."""

    reason = "not_ready"


class TooLate(Unavailable):
    """There was no answer within the deadline."""

    reason = "deadline"


REFUSALS: Final = ("overloaded", "deadline", "not_ready", "unavailable")
"""The reasons of all errors of status 503."""
