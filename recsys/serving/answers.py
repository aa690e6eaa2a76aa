"""From a question to a user of a version, and from the stages' arrays to what goes over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from recsys.inference.recommender import Recommendations
from recsys.registry.bundle import Bundle
from recsys.schema import ITEM, LGB_SCORE, MF_SCORE, SCORE, UNKNOWN, Objective
from recsys.serving.messages import HttpError

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A request for recommendations; `user` as it stands in the address.

    repeat_share: None is the version's own
    """

    user: str
    n: int
    cold_start: bool
    explain: bool
    objective: Objective
    repeat_share: float | None = None


def find_user(opened: Bundle, text: str, cold_start: bool | None = None) -> int:
    """A user's row in the snapshot; UNKNOWN with `cold_start` where the user has no event, None where it is no option.

    Raises HttpError: 400 where the id does not fit the data's ids, 404 where there is no such user.
    """
    users = opened.snapshot.users
    user = users.parse(text) if text else None
    if user is None:
        raise HttpError(400, f"user_id {text[:80]!r} does not fit; the ids of this shop are of type {users.kind}")
    row = users.code(user)
    if row == UNKNOWN and not cold_start:
        hint = "" if cold_start is None else "; ask with cold_start=true for popular items"
        raise HttpError(404, f"user {text[:80]} not found{hint}")
    return row


def user_type(warm: bool) -> str:
    return "warm" if warm else "cold"


def category_of(opened: Bundle, item: int) -> int | str | None:
    code = int(opened.tables.statistics.category[item])
    return None if code == UNKNOWN else opened.categories[code]


def answers_to(opened: Bundle, found: Recommendations, questions: Sequence[Question]) -> list[Answer]:
    """One answer for each user of `found`, cut to the n of its question."""
    items = opened.items.decode(found.items).to_pylist()
    scores, lgb_scores = found.scores.tolist(), found.lgb_scores.tolist()
    mf_scores = [None if isnan(score) else score for score in found.mf_scores.tolist()]  # NaN is no JSON
    offsets, warm, counted = found.offsets.tolist(), found.warm.tolist(), found.n_candidates.tolist()
    answers = []
    for user, question in enumerate(questions):
        rows = range(offsets[user], min(offsets[user + 1], offsets[user] + question.n))
        recommendations = [
            {ITEM: items[row], SCORE: scores[row], LGB_SCORE: lgb_scores[row], MF_SCORE: mf_scores[row]} for row in rows
        ]
        if question.explain:
            for row, recommendation in zip(rows, recommendations, strict=True):
                proposed = zip(opened.manifest.sources, found.provenance[row].tolist(), strict=True)
                recommendation["sources"] = [name for name, by_it in proposed if by_it]
                recommendation["category"] = category_of(opened, int(found.items[row]))
        answers.append(
            {
                "user_id": opened.snapshot.users.parse(question.user),
                "user_type": user_type(warm[user]),
                "model_version": opened.version,
                "recommendations": recommendations,
                "total_candidates_scored": counted[user],
            }
        )
    return answers
