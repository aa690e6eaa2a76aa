"""The service behind its HTTP routes: finds users, runs the stages, follows the version in production. No Ray."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys import __version__
from recsys.errors import RegistryError
from recsys.inference.servable import Loaded
from recsys.registry.bundle import Bundle
from recsys.schema import EVENT, EVENT_TYPES, ITEM, OBJECTIVES, PURCHASE, TIME
from recsys.serving.answers import Answer, Question, answers_to, category_of, find_user, user_type
from recsys.serving.batching import Abandoned, Coalescer, Overloaded
from recsys.serving.histories import EventSource
from recsys.serving.messages import HttpError, spoken_time
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import Engine, Held, Unavailable, Wishes
from recsys.serving.versions import Versions

logger = logging.getLogger(__name__)

RETRY_REFUSED_SECONDS = 30.0
"""A version that was refused is tried again after so long, since a disk may have been at fault."""
RANDOM_TRIES = 500
"""Users looked at to find one of a type."""


class Service:
    """Answers requests, each from one version."""

    def __init__(self, versions: Versions, engine: Engine, events: EventSource, settings: ServeSettings) -> None:
        self._versions, self._engine, self._events, self._settings = versions, engine, events, settings
        self._current: Loaded | None = None
        self._previous: Loaded | None = None
        self._refused: tuple[str, str] | None = None
        self._refused_at = 0.0
        self._problem: str | None = None
        self._refreshing = asyncio.Lock()
        self._healing: asyncio.Future[Any] | None = None
        self._coalescer: Coalescer[Question, Answer] = Coalescer(
            self._answer_all,
            max_waiting=settings.max_waiting,
            max_batch=settings.max_batch,
            batches=settings.batches,
            linger=settings.linger_ms / 1000,
        )

    # The version in production

    async def follow(self) -> None:
        """Keep to the version in production; runs until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._settings.poll_seconds)

    async def look(self) -> None:
        """Refresh once; what fails is logged and what is served stays: nothing may end the following of versions."""
        [failure] = await asyncio.gather(self.refresh(), return_exceptions=True)
        self._problem = None if failure is None else f"{type(failure).__name__}: {failure}"
        if failure is not None:
            expected = isinstance(failure, RegistryError | Unavailable)
            logger.warning(
                "the version in production cannot be followed now",
                extra={"reason": self._problem},
                exc_info=None if expected else failure,
            )

    async def refresh(self) -> None:
        """Load the version wanted in every replica and then switch; a version that fails anywhere is refused.

        Where nothing is in service yet, the newest of those in production before it serves meanwhile.
        Raises RegistryError or Unavailable where the registry or a stage cannot be reached.
        """
        async with self._refreshing:
            names = await asyncio.to_thread(self._versions.wanted, self._settings.version)
            if not names or (self._current and self._current.bundle.version == names[0]):
                self._refused = None
                return
            wanted, *before = names
            if (
                self._refused
                and self._refused[0] == wanted
                and time.monotonic() < self._refused_at + RETRY_REFUSED_SECONDS
            ):
                return
            reason = await self._switch(wanted)
            self._refused = None if reason is None else (wanted, reason)
            for version in before:
                if self._current is None:
                    await self._switch(version)
            # Last, since where a stage was not there all is to be tried again soon.
            self._refused_at = time.monotonic()

    async def _switch(self, version: str) -> str | None:
        """Put a version into service, or say why that cannot be.

        The stages come first, so that this replica never gives up the version it serves for one that they refuse.
        """
        reason = (
            await self._versions.survived(version)
            or await self._engine.prepare(version)
            or await self._versions.refused(version)
        )
        if reason is not None:
            logger.error("version refused", extra={"version": version, "reason": reason})
            return reason
        self._previous, self._current = self._current, self._versions.get(version)
        logger.info("version in service", extra={"version": version})
        return None

    def _ready(self) -> Loaded:
        if self._current is None:
            why = f"version {self._refused[0]} was refused: {self._refused[1]}" if self._refused else self._problem
            raise HttpError(503, f"the service is not ready, no version is loaded{f': {why}' if why else ''}")
        return self._current

    # Recommendations

    async def recommend(self, question: Question) -> Answer:
        """Raises HttpError: 400, 404 or 503."""
        self._ready()
        try:
            async with self._deadline():
                return await self._coalescer(question)
        except TimeoutError:
            raise HttpError(503, f"no answer within {self._settings.deadline_ms} ms") from None
        except (Overloaded, Abandoned, Unavailable) as error:
            raise HttpError(503, str(error)) from error

    def _deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._settings.deadline_ms / 1000)

    async def _answer_all(self, questions: Sequence[Question]) -> list[Answer | BaseException]:
        """Answers from a version that all stages hold: a replica that has just come may lack the newest."""
        async with self._deadline():  # when it ends nobody waits any more, and the next batch may go
            for loaded in (self._current, self._previous):
                if loaded and (answers := await self._answer_from(loaded, questions)) is not None:
                    return answers
            await self.look()
            if (answers := await self._answer_from(self._ready(), questions)) is not None:
                return answers
        raise HttpError(503, "the stages do not hold a common version yet")

    async def _answer_from(self, loaded: Loaded, questions: Sequence[Question]) -> list[Answer | BaseException] | None:
        """Answers from one version, None where a stage does not hold it."""
        opened = loaded.bundle
        answers: list[Answer | BaseException] = []
        rows, asked = [], []
        for question in questions:
            try:
                row = find_user(opened, question.user, question.cold_start)
            except HttpError as error:
                answers.append(error)
                continue
            answers.append({})
            rows.append(row)
            asked.append(len(answers) - 1)
        if not rows:
            return answers
        histories = self._events.histories(opened, rows)
        wishes = Wishes(
            max(questions[at].n for at in asked),
            np.array([OBJECTIVES.index(questions[at].objective) for at in asked], np.int8),
            np.array([questions[at].repeat_share for at in asked], np.float64),  # None becomes NaN
        )
        found = await self._engine(loaded, histories, self._now(opened), wishes)
        if found is None:
            return None
        for place, answer in zip(asked, answers_to(opened, found, [questions[at] for at in asked]), strict=True):
            answers[place] = answer
        return answers

    def _now(self, opened: Bundle) -> int:
        newest = self._events.newest(opened)
        return newest if self._settings.clock == "data" else max(newest, int(time.time() * 1000))

    # Users

    def stats(self, user: str) -> Answer:
        """Raises HttpError: 400, 404 or 503."""
        opened = self._ready().bundle
        row = find_user(opened, user)
        totals = opened.snapshot.totals_of(row, opened.tables.statistics.category)
        return {
            "user_id": opened.snapshot.users[row],
            "user_type": self._type(opened, row),
            "total_events": sum(totals.counts),
            "purchases": totals.counts[PURCHASE],
            "conversion_rate": totals.counts[PURCHASE] / sum(totals.counts),
            "unique_items_viewed": totals.items,
            "unique_categories_viewed": totals.categories,
            "first_seen": spoken_time(totals.first),
            "last_seen": spoken_time(totals.last),
        }

    def events(self, user: str, limit: int) -> Answer:
        """The newest events; raises HttpError: 400, 404 or 503."""
        opened = self._ready().bundle
        row = find_user(opened, user)
        newest = self._events.histories(opened, [row]).latest(limit)
        events = [
            {TIME: spoken_time(when), EVENT: EVENT_TYPES[kind], ITEM: opened.items[item]}
            | {"category": category_of(opened, item)}
            for when, kind, item in zip(
                newest.times.tolist(), newest.events.tolist(), newest.items.tolist(), strict=True
            )
        ]
        return {"user_id": opened.snapshot.users[row], "events": events[::-1]}

    def random_user(self, user_type: str) -> Answer:
        """Some user of a type; raises HttpError: 404 or 503."""
        opened = self._ready().bundle
        users = range(len(opened.snapshot.users))
        for row in random.sample(users, min(RANDOM_TRIES, len(users))):
            if self._type(opened, row) == user_type:
                return {"user_id": opened.snapshot.users[row], "user_type": user_type}
        raise HttpError(404, f"no {user_type} user among {RANDOM_TRIES} drawn at random")

    def _type(self, opened: Bundle, row: int) -> str:
        return user_type(bool(opened.tables.factors.warm(self._events.histories(opened, [row]))[0]))

    # Health

    async def health(self) -> Answer:
        """What is served and by whom; `unavailable` unless every replica of every stage holds the version served.

        Raises HttpError: 503 where there is no version, or the stages do not answer.
        """
        opened = self._ready().bundle
        manifest = opened.manifest
        held = await self._held()
        lacking = [
            stage
            for stage, replicas in held.items()
            if not replicas or any(opened.version not in names for names in replicas)
        ]
        if lacking:
            self._heal(opened.version)
        detail = {"detail": f"version {opened.version} is not held by all of: {', '.join(lacking)}"} if lacking else {}
        refused = dict(zip(("version", "reason"), self._refused, strict=True)) if self._refused else None
        return detail | {
            "status": "unavailable" if lacking else "healthy",
            "service": "E-Commerce Recommendation API",
            "version": __version__,
            "mode": f"Hybrid (LGB + MF with fold-in), {self._settings.topology}",
            "model_version": opened.version,
            "stats": {
                "total_events": sum(manifest.counts.events.values()),
                "unique_users": manifest.counts.users,
                "unique_items": manifest.counts.items,
                "date_range": {
                    "start": spoken_time(manifest.date_range.start),
                    "end": spoken_time(manifest.date_range.end),
                },
            },
            "model": {
                "version": opened.version,
                "created": manifest.created,
                "features": len(manifest.features),
                "mf_users": manifest.counts.mf_users,
                "mf_items": manifest.counts.mf_items,
                "hybrid_alpha": manifest.blend.alpha,
                "metrics": manifest.headline,
            },
            "stages": held,
            "refused": refused,
            "problem": self._problem,
        }

    async def _held(self) -> Held:
        """Of the ingress this replica's alone; raises HttpError where the stages do not answer."""
        try:
            async with self._deadline():
                return {"ingress": [self._versions.held()], **await self._engine.held()}
        except TimeoutError:
            raise HttpError(503, f"the stages did not answer within {self._settings.deadline_ms} ms") from None
        except Unavailable as error:
            raise HttpError(503, str(error)) from error

    def _heal(self, version: str) -> None:
        """Tell all replicas to load a version that some lack: one that nobody asks would never load it.

        Nobody waits for it; whether they could is seen when health is asked again.
        """
        if self._healing is None or self._healing.done():
            self._healing = asyncio.gather(self._engine.prepare(version), return_exceptions=True)
