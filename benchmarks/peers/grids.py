"""Settings to try, and the choice among them on the validation window."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from peers.windows import Lists, Question

Settings = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The settings that are best for one question, and their metric on the validation window."""

    settings: Settings
    validation: float


def grid(**choices: Sequence[float | str]) -> Sequence[Settings]:
    """Every combination."""
    return [dict(zip(choices, point, strict=True)) for point in product(*choices.values())]


def best_settings(
    tried: Iterable[tuple[Settings, Lists]], asked: Sequence[Question], metric: str
) -> Mapping[str, Chosen]:
    """The best settings for each question by the mean of a metric such as `ndcg@10`, ties to the earlier ones.

    tried: settings and what a model fitted with them ranks for the users of the validation window
    """
    best: dict[str, Chosen] = {}
    for settings, lists in tried:
        for question in asked:
            value = question.mean(metric, lists)
            if question.name not in best or value > best[question.name].validation:
                best[question.name] = Chosen(settings, value)
    return best


def refitted(chosen: Mapping[str, Chosen], rank: Callable[[Settings], Lists]) -> Lists:
    """Each question's lists from a fit with its own settings; one fit where they are the same."""
    lists: dict[str, Lists] = {}
    for name, choice in chosen.items():
        same = (other for other in lists if chosen[other].settings == choice.settings)
        twin = next(same, None)
        lists[name] = rank(choice.settings) if twin is None else lists[twin]
    return {name: fitted[name] for name, fitted in lists.items()}
