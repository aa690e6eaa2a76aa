"""The rules file of the service: read again and again, checked, and used once every stage can use it."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import CONTENT, DataError, RecsysError
from recsys.registry.cache import cache_root
from recsys.rules.file import RulesFile
from recsys.rules.parse import parse_rules
from recsys.serving.content import read_content, reason_of
from recsys.serving.errors import NotReady, Unavailable
from recsys.serving.following import Problem
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.stages import StageRunner

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
"""Seconds between two readings of the file."""
SHOWN: Final = 100
"""Rules with unknown ids or words that are reported."""
LOAD_SECONDS: Final = 1.0
"""Time that the stages have to compile new rules before they are used; a stage that has not done so gets them again."""


@dataclass(frozen=True, slots=True)
class RulesReport:
    """The state of the rules file.

    n_rules: rules in use; problem: why the file cannot be used, while the last valid one is
    not_applied: rules that a loaded version cannot apply, and why
    unknown: ids and words in rules that a loaded version does not have
    """

    address: str
    digest: str
    n_rules: int
    problem: Problem | None
    not_applied: Sequence[str]
    unknown: Sequence[str]


class FollowedRules:
    """Keeps the rules of a replica equal to a file. Without an address there are no rules."""

    def __init__(self, address: str | None, versions: LoadedVersions, stages: StageRunner) -> None:
        self._address, self._versions, self._stages = address, versions, stages
        self._file: RulesFile | None = None
        self._content: bytes | None = None
        self._problem: Problem | None = None

    def current(self) -> RulesFile | None:
        """The rules in use, None without a file. A batch asks once, so that all its stages use the same.

        Raises Unavailable where a file is set and none was valid yet: its filters must hold.
        """
        if self._file is None and self._address is not None:
            problem = self._problem.text if self._problem else "it is not read yet"
            raise NotReady(f"the service is not ready, no rules are loaded: {problem}")
        return self._file

    @property
    def problem(self) -> Problem | None:
        """Why the file as it is now cannot be used."""
        return self._problem

    def report(self) -> RulesReport | None:
        """The state of the file; None without one."""
        if self._address is None:
            return None
        file = self._file or RulesFile()
        prepared = (servable.recommender.rules.prepared(file.digest) for servable in self._versions.newest_first())
        tables = [table for table in prepared if table is not None]
        problems, unknown = (
            list(dict.fromkeys(text for table in tables for text in getattr(table, name)))
            for name in ("problems", "unknown")
        )
        return RulesReport(self._address, file.digest, len(file.rules), self._problem, problems, unknown[:SHOWN])

    async def run(self) -> None:
        """Read the file again and again, until cancelled."""
        while self._address is not None:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.update()

    async def update(self) -> None:
        """Read the file. A valid one is used from now on; an invalid one is logged, and the rules stay as they are.

        Whatever the file holds, no error leaves this method: later files must be read.
        """
        if self._address is None:
            return
        try:
            content = await asyncio.to_thread(read_content, self._address)
            if content != self._content:
                file = await asyncio.to_thread(parse_rules, content, self._address)
                await self._use(file)
                await asyncio.to_thread(_keep, self._address, content)
                self._content = content
            elif self._file is not None:
                await asyncio.to_thread(self._prepare, self._file)  # for versions that were loaded meanwhile
            self._problem = None
        except (*CONTENT, OSError) as error:
            self._reject(error)
            if self._file is None:
                await self._use_kept()

    async def _use(self, file: RulesFile) -> None:
        await asyncio.to_thread(self._prepare, file)
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self._stages.load_rules(file)
        except (Unavailable, TimeoutError) as error:
            logger.warning("a stage has not loaded the rules yet", extra={"reason": str(error)})
        self._file = file
        logger.info("rules loaded", extra={"rules": len(file.rules), "digest": file.digest})

    async def _use_kept(self) -> None:
        """Use the last valid file that a service on this machine used: a new replica must not serve without filters."""
        with suppress(OSError, *CONTENT):
            await self._use(await asyncio.to_thread(lambda: parse_rules(_kept(str(self._address)).read_bytes())))

    def _prepare(self, file: RulesFile) -> None:
        for servable in self._versions.newest_first():
            servable.recommender.rules.prepare(file)

    def _reject(self, error: Exception) -> None:
        unforeseen = None
        if isinstance(error, RecsysError):
            text = str(error)
        elif isinstance(error, OSError):
            text = f"{self._address} cannot be read: {reason_of(error)}"
        else:
            text, unforeseen = f"{self._address} cannot be used: {type(error).__name__}: {error}", error
        if self._problem is None or self._problem.text != text:
            logger.error("rules rejected", extra={"reason": text}, exc_info=unforeseen)
            self._problem = Problem(text, int(time.time() * 1000))


def _kept(address: str) -> Path:
    return cache_root() / "rules" / f"{hashlib.sha256(address.encode()).hexdigest()}.yaml"


def _keep(address: str, content: bytes) -> None:
    """Keep a valid file for replicas that start while the file is not valid."""
    path = _kept(address)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{time.time_ns()}")
        draft.write_bytes(content)
        draft.replace(path)


def check_rules_file(address: str) -> None:
    """Raises RuleError with the line of each fault, or DataError where the file cannot be read."""
    try:
        parse_rules(read_content(address), address)
    except OSError as error:
        raise DataError(f"the rules file {address} cannot be read: {reason_of(error)}") from error
