"""The retraining job: a challenger on the newest data, promoted only where it is not worse than production."""

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.sources import Source
from recsys.errors import DataError, RecsysError, RegistryError, TooLittleData, reason_of
from recsys.gates.decision import Verdict, without_figures
from recsys.inference.probe import check_here
from recsys.jobs.train import Trained, learn, publish_trained, read
from recsys.registry.decisions import Comparison, Decision, GateResult, Outcome, keep_beside, record
from recsys.registry.leases import remove_ended
from recsys.registry.lock import Lock, held
from recsys.registry.pointer import Pointer
from recsys.registry.store import Store
from recsys.report.terminal import show_published
from recsys.training.retrain.comparison import Match, compare, plan_match
from recsys.training.retrain.facts import check_gates
from recsys.training.retrain.production import Production, open_production

logger = logging.getLogger(__name__)

SECONDS_PER_MINUTE = 60
UNFINISHED = "the run ended during its promotion; `recsys models list` shows whether it is in production"


class GateClosed(DataError):
    """A gate on the data did not let the run through."""


class ProductionChanged(RegistryError):
    """Another version was promoted while this run trained and compared."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is about.

    production: None without a version in production
    gates: the results of the gates on the data
    """

    store: Store
    shop: ShopData
    production: Production | None
    gates: tuple[GateResult, ...] = ()

    def decided(self, verdict: Verdict, version: str | None = None, figures: Comparison | None = None) -> Decision:
        """The decision, kept in the registry and in the log, see `decision`."""
        decision = self.decision(verdict, version, figures)
        record(self.store, decision)
        _log(decision)
        return decision

    def decision(self, verdict: Verdict, version: str | None, figures: Comparison | None) -> Decision:
        """The decision; version: of the challenger, if it was published."""
        return Decision(
            outcome=verdict.outcome,
            reason=verdict.reason,
            version=version,
            production=None if self.production is None else self.production.version,
            decided=datetime.now(UTC).isoformat(timespec="seconds"),
            data=self.shop.name,
            end=self.shop.end,
            gates=self.gates,
            figures=figures,
        )


def run(
    source: Source,
    store: Store,
    config: TrainConfig,
    work: str | Path,
    now: int,
    allowed: Collection[str] = (),
) -> Decision:
    """Check the data, train, compare with production, publish, and promote where the challenger is not worse.

    work, now: see `recsys.jobs.train.run`; allowed: gates whose result does not stop the run
    Raises RecsysError; production is then as it was, unless only the record of a promotion failed. LockTaken: another
    run goes on. GateClosed: the data are not as expected, and nothing was trained.
    """
    with held(store, config.retrain.lock_minutes * SECONDS_PER_MINUTE) as lock:
        _clean(store)
        production = open_production(store)
        if production is None:
            _check_new(store)
        shop = read(source, config, work, now)
        gates = () if production is None else check_gates(shop, production, config.retrain.gates)
        gates = tuple(gate.model_copy(update={"allowed": gate.gate in allowed}) for gate in gates)
        this = Run(store, shop, production, gates)
        _pass_gates(this)
        return _retrain(this, config, str(work), now, lock)


def _clean(store: Store) -> None:
    """Remove the leases that have ended. Where that fails, the run goes on."""
    try:
        remove_ended(store)
    except RegistryError as error:
        logger.warning("ended leases not removed", extra={"reason": str(error)})


def _check_new(store: Store) -> None:
    """Warn that a registry is made; raises RegistryError for one that has versions, since its pointer may be lost."""
    if store.versions():
        raise RegistryError(f"{store} has versions, but none is in production; expected one: models promote VERSION")
    console.paragraph(f"warning: there is no version in {store} yet; this run makes the first, without a comparison")


def _pass_gates(this: Run) -> None:
    """Print what the gates found; raises GateClosed for the first that neither passed nor is allowed."""
    for gate in this.gates:
        if not gate.passed and gate.allowed:
            console.paragraph(f"warning: {gate.gate}, allowed: {gate.figure}")
    closed = [gate for gate in this.gates if not gate.passed and not gate.allowed]
    if closed:
        reason = "; ".join(f"{gate.gate}: {gate.figure}" for gate in closed)
        this.decided(Verdict("refused", reason))
        options = " ".join(f"--allow {gate.gate}" for gate in closed)
        raise GateClosed(f"not retrained: {reason}. Production stays as it is. If this is as it should be: {options}")


def _retrain(this: Run, config: TrainConfig, work: str, now: int, lock: Lock) -> Decision:
    match = None
    if this.production is not None:
        with console.step("plan the comparison with production"):
            match = plan_match(this.shop, config, this.production, work)
        _show_match(match, this.production)
    trained = learn(this.shop, config if match is None else match.config, work, now, None, resume=False)
    verdict, figures = _judged(this, trained, match)
    version = publish_trained(trained, this.store)
    if verdict.outcome == "promoted":
        verdict = _promoted(this, version, verdict, figures, lock)
    decision = this.decided(verdict, version, figures)
    _show(decision, this.store, page=config.evaluation.page)
    return decision


def _judged(this: Run, trained: Trained, match: Match | None) -> tuple[Verdict, Comparison | None]:
    """The decision about the challenger, and the comparison if there was one."""
    production = this.production
    learned = None if production is None else production.is_learned
    verdict = without_figures(trained.model.not_learned is None, learned)
    if verdict is not None or production is None or match is None or trained.window is None:
        return verdict or Verdict("promoted", "there is nothing to compare it with"), None
    if match.opponent == "same settings":
        return Verdict("promoted", f"not compared, the gates alone decided: {match.why}"), None
    try:
        return compare(trained.context, trained.window, match, production, str(this.store))
    except TooLittleData as problem:
        reason = f"nothing can be learned from these data with production's settings: {reason_of(problem)}"
        return Verdict("kept", reason), None


def _promoted(this: Run, version: str, verdict: Verdict, figures: Comparison | None, lock: Lock) -> Verdict:
    """Promote the challenger; the verdict, another one if production changed meanwhile.

    Raises RegistryError where it cannot be promoted, LockLost too. Whenever this ends, the version has a decision.
    """

    def check(folder: Path) -> str:
        fingerprint = check_here(folder)
        lock.renew()
        return fingerprint

    def confirm(pointer: Pointer | None) -> None:
        before = None if this.production is None else this.production.version
        current = None if pointer is None else pointer.version
        if current != before:
            raise ProductionChanged(f"it was compared with {before}, and now {current} is in production")

    keep_beside(this.store, this.decision(Verdict("kept", UNFINISHED), version, figures))
    try:
        with console.step("promote"):
            this.store.promote(version, check, confirm)
    except ProductionChanged as problem:
        return Verdict("kept", str(problem))
    except RecsysError as problem:
        with suppress(RegistryError):  # the registry may be the problem
            if this.store.production() != version:
                this.decided(Verdict("kept", f"it was not promoted: {reason_of(problem)}"), version, figures)
        raise
    return verdict


def _show_match(match: Match, production: Production) -> None:
    """Print the model that stands for production, and why."""
    stands = {
        "version": f"{production.version} itself",
        "refit": f"the settings of {production.version}, refitted as of the cut",
        "same settings": f"nothing but the same settings: those of {production.version} are the challenger's",
    }[match.opponent]
    console.paragraph(f"compared with {stands}: {match.why}")


def _log(decision: Decision) -> None:
    figures = {} if decision.figures is None else decision.figures.model_dump(mode="json")
    closed = [gate.gate for gate in decision.gates if not gate.passed and not gate.allowed]
    names: Sequence[str] = ("outcome", "reason", "version", "production")
    extra = {name: getattr(decision, name) for name in names}
    logger.info("retrain decision", extra={**extra, "closed_gates": closed, **_renamed(figures)})


def _renamed(figures: dict[str, object]) -> dict[str, object]:
    """The figures under names of their own, which no other field of the record has."""
    return {f"comparison_{name}": value for name, value in figures.items()}


def _show(decision: Decision, store: Store, *, page: bool) -> None:
    outcome: Outcome = decision.outcome
    console.paragraph(f"{outcome}: {decision.reason}")
    withheld = None if outcome == "promoted" else "it was kept"
    if decision.version is not None:
        show_published(decision.version, store, withheld=withheld, page=page)
