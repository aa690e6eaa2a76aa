"""The report's part with real users."""

from collections.abc import Sequence

from recsys.report.content import Person
from recsys.report.drawing import several
from recsys.report.sections import Part, Section


def part(people: Sequence[Person]) -> Part:
    hits = sum(person.found > 0 for person in people)
    says = (
        f"{several(len(people), 'user')} drawn by a hash of the ids, from few events to many"
        f"{', the last one cold' if people and not people[-1].warm else ''}; {hits} of them went on to choose one of "
        f"the items below. Score is the blend of lgb and mf."
    )
    return Part("Examples", (Section("people", "Real users", says, people=people),))
