"""The rules of a request and of the file to a program."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.errors import RuleError
from recsys.rules.items import RuleItems
from recsys.rules.members import GivenItems, Members, compile_target
from recsys.rules.program import FileRules, Filter, GroupCap, Move, Program
from recsys.rules.request import Boost, RequestRules, Target


def compile_program(known: RuleItems, request: RequestRules, from_file: FileRules | None) -> Program:
    """The program of a request; raises RuleError for a filter or rule that the version cannot apply."""
    filters = [Filter(_members(known, target, "only"), True, f"only {target}") for target in request.only]
    filters += [Filter(_members(known, target, "without"), False, f"without {target}") for target in request.without]
    if request.exclude:
        excluded = GivenItems(known.item_codes(request.exclude, "exclude"))
        filters.append(Filter(excluded, False, f"exclude {Target(items=request.exclude)}"))
    moves = [_move(known, one, 1, "boost") for one in request.boost]
    moves += [_move(known, one, -1, "bury") for one in request.bury]
    others = [] if from_file is None else from_file.others
    per = _smallest(
        [(cap.per, cap.at_most) for cap in request.cap if cap.per is not None]
        + [(rule.per, rule.cap) for rule in others if rule.per is not None and rule.cap is not None]
    )
    where = _smallest([(cap.where, cap.at_most) for cap in request.cap if cap.where is not None])
    diversity = request.diversity
    if diversity is None:
        diversity = max((rule.diversity for rule in others if rule.diversity is not None), default=0.0)
    pins = [_Pin(known.item_codes((pin.item,), "pin"), pin.position, "pin") for pin in request.pin]
    for rule in others:
        if rule.pin is not None and rule.where is not None:
            listed = [known.item_codes((item,), "pin") for item in rule.where.items or ()]
            pins += [_Pin(codes, rule.pin + k, rule.name) for k, codes in enumerate(listed)]
    kept = _distinct_pins(pins)
    return Program(
        known,
        request,
        tuple(filters),
        tuple(moves),
        tuple((_members(known, target, "cap"), at_most) for target, at_most in where.items()),
        tuple(_group_cap(known, at_most, name) for name, at_most in per.items()),
        (np.array([pin.code for pin in kept], np.int32), np.array([pin.position for pin in kept], np.int64)),
        tuple(pin.text for pin in kept),
        diversity,
        from_file,
    )


def _smallest(caps: Sequence[tuple[Any, int]]) -> dict[Any, int]:
    """The smallest bound of each kind of cap."""
    smallest: dict[Any, int] = {}
    for kind, at_most in caps:
        smallest[kind] = min(at_most, smallest.get(kind, at_most))
    return smallest


def _members(known: RuleItems, target: Target, field: str) -> Members:
    """The members of a target of a field of the request; raises RuleError that names the field."""
    try:
        return compile_target(target, known)
    except RuleError as error:
        raise RuleError(f"{field}: {error}") from error


def _group_cap(known: RuleItems, at_most: int, per: str) -> GroupCap:
    try:
        return GroupCap(at_most, *known.grouping(per))
    except RuleError as error:
        raise RuleError(f"cap per {per:.80}: {error}") from error


def _move(known: RuleItems, boost: Boost, sign: int, word: str) -> Move:
    log_factor = sign * float(np.log(boost.factor))
    return Move(_members(known, boost.where, word), log_factor, f"{word} {boost.where}")


@dataclass(frozen=True, slots=True)
class _Pin:
    """codes: int32, the item, empty where the version does not know it; text: for messages"""

    codes: np.ndarray
    position: int
    text: str

    @property
    def code(self) -> int:
        return int(self.codes[0])


def _distinct_pins(pins: Sequence[_Pin]) -> list[_Pin]:
    """The pins by rising position; of two pins of one item or one position the first holds."""
    by_position: dict[int, _Pin] = {}
    items: set[int] = set()
    for pin in pins:
        if len(pin.codes) and pin.position not in by_position and pin.code not in items:
            by_position[pin.position] = pin
            items.add(pin.code)
    return [by_position[position] for position in sorted(by_position)]
