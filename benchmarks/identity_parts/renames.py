"""What NEW calls otherwise than OLD on purpose: the table that `benchmarks/identity.py` applies before it compares.

The order is FILES, WORDS, MOVED, then DROPPED and ADDED, so write the paths of DROPPED as the script prints them, which
is in the words of NEW.

A path is dotted: the document, then the keys and the places in lists that lead to a value. `*` stands for any text,
dots included. The documents are

- `files`: the names of a version's files, as in `files.arrays/gram.npy`
- `manifest`, and `config`, `metrics`, `report` for the version's JSON files, as in `metrics.table.3.system`
- `ranker.txt` and the like: lines by number, as in `ranker.txt.12`
- `recommend USER`: ranks and columns of the batch, as in `recommend 17.1.score`
- `http PATH`: status and body of an answer, as in `http /recommend/17?n=10.body.recommendations.0.score`
"""

from typing import Final

from recsys.retrieval.preranker import HISTORY_COLUMNS, ITEM_COLUMNS

SOURCES: Final = ("own", "covisitation", "mf_neighbours", "recent", "popular", "category")
SPEEDS: Final = ("fast", "medium", "slow")
FEATURES: Final = {
    **{
        f"{thing}_share_{speed}": f"{thing}_fraction_{speed}"
        for thing in ("pair", "category", "parent")
        for speed in SPEEDS
    },
    "user_repeat_share": "user_repeat_fraction",
    "item_repeat_share": "item_repeat_fraction",
    "item_category_share": "item_category_fraction",
    "pair_category_share": "pair_category_fraction",
    "selection": "preranker_score",
}
"""Names of features."""

MEANINGS: Final = {
    "what the selection of candidates thinks of the item": "log-odds of the pre-ranker",
    "score of the factorization, where new items are asked for": "score of the factorization, for discovery only",
    "place of the item among the user's candidates by that score, where new items are asked for": (
        "rank of the item among the user's candidates by the factorization's score, for discovery only"
    ),
    "0 = Thursday": "0 = Thursday, the day of 1970-01-01",
    "recent share of the events over the share expected of a steady item": (
        "fraction of the events in the recent window, divided by the fraction expected at a constant rate"
    ),
    "share of the category's decayed events": "fraction of the category's decayed events that are on the item",
    "the same as a share of the user's total": "fraction of the user's weighted events",
    "position of the item in the user's history by slow decayed weight": (
        "rank of the item among the user's items by weighted events, slow decay"
    ),
    "position of the item in the user's history by last event": (
        "rank of the item among the user's items by time of the last event"
    ),
    "mean interval of those days": "mean interval between purchase days",
    "share of the item in the user's events of its category": (
        "fraction of the user's events in the category that are on the item"
    ),
}
"""Texts about features."""

FILES: Final[dict[str, str]] = {
    **{
        f"arrays/covisitation_{part}.npy": f"arrays/source_covisitation_{part}.npy"
        for part in ("offsets", "items", "scores")
    },
    **{
        f"arrays/mf_neighbours_{part}.npy": f"arrays/source_mf_neighbours_{part}.npy"
        for part in ("offsets", "items", "scores")
    },
    "arrays/popularity_recent.npy": "arrays/source_recent_items.npy",
    "arrays/popularity_popular.npy": "arrays/source_popular_items.npy",
    "arrays/popularity_category_items.npy": "arrays/source_category_items.npy",
    "arrays/popularity_category_offsets.npy": "arrays/source_category_offsets.npy",
    "ranker_discover.txt": "ranker_discovery.txt",
}
"""Name of a file in OLD's version: its name in NEW's, both exact, such as "arrays/gram.npy"."""

WORDS: Final[dict[str, dict[str, str]]] = {
    "ranker*.txt": FEATURES,
    "metrics": FEATURES | {"share": "fraction", "select": "preranker", "valid": "validation"},
    "manifest": FEATURES,
    "config": {"max_bad_share": "max_bad_fraction"},
    "report": FEATURES | MEANINGS | {"share": "fraction", "shares": "fractions"},
}
"""By document (`*`: every one): a word in the text of OLD's JSON and ranker files: the word in NEW's.

A word is replaced where it stands whole, not between letters, digits or underscores, in keys and in values alike; it
may hold blanks. With its quotes and colon, as in '"alpha":', it is replaced where it is a key alone. All words of a
document are replaced at once, so two may change places.
"""

SETTINGS: Final = {
    "inference.repeat_share": "inference.repeat_cap",
    **{f"inference.candidates.shares.{name}": f"inference.candidates.sources.{name}.weight" for name in SOURCES},
    "inference.candidates.covisitation": "inference.candidates.sources.covisitation",
    "inference.candidates.neighbours": "inference.candidates.sources.mf_neighbours",
    "inference.candidates.popularity.size": "inference.candidates.sources.popular.size",
    "inference.candidates.popularity.per_category": "inference.candidates.sources.category.per_category",
    "inference.candidates.popularity.categories": "inference.candidates.sources.category.categories",
}
"""Paths of settings, in a version's config.json and in its manifest."""

PRERANKERS: Final = {
    f"manifest.selectors.{old}.{part}": f"manifest.prerankers.{new}.{name}"
    for old, new in (("all", "all"), ("discover", "discovery"))
    for part, name in {
        "shares": "source_value",
        **{f"turns.{place}": f"ranks.{name}" for place, name in enumerate(SOURCES)},
        **{f"own.{place}": f"history.{name}" for place, name in enumerate(HISTORY_COLUMNS)},
        **{f"prior.{place}": f"items.{name}" for place, name in enumerate(ITEM_COLUMNS)},
    }.items()
}
"""The pre-rankers' weights: lists by place have become weights by name."""

REPORT: Final = {
    "created": "head.created",
    "data.start": "sections.days.start",
    "data.end": "sections.days.end",
    "data.users": "head.users",
    "data.items": "sections.items.items",
    "data.targets": "head.targets",
    "data.events": "sections.days.events",
    "data.windows": "sections.days.windows",
    "data.daily": "sections.days.daily",
    "data.funnel_users": "sections.funnel.users",
    "data.funnel_pairs": "sections.funnel.pairs",
    "data.activity": "sections.spread.users",
    "data.popularity": "sections.spread.items",
    "data.categories": "sections.items.categories",
    "data.n_categories": "sections.items.n_categories",
    "data.coverage": "sections.items.coverage",
    "data.quality": "sections.input_quality.rows",
    "quality.k": "head.k",
    "quality.confidence": "head.confidence",
    "quality.test_days": "sections.baselines.test_days",
    "quality.baseline": "head.baseline",
    "quality.users": "sections.baselines.users",
    "quality.candidates": "sections.candidates.per_user",
    "quality.recall": "sections.candidates.recall",
    "quality.scored": "sections.candidates.with_mf",
    **{
        f"quality.{old}.*.{name}": f"sections.{new}.table.*.{name}"
        for old, new in (("table", "groups"), ("new_items", "discovery"))
        for name in ("system", "group", "users")
    },
    "quality.table.*.*": "sections.groups.table.*.metrics.*",
    "quality.new_items.*.*": "sections.discovery.table.*.metrics.*",
    "quality.differences.*.system": "sections.baselines.leads.*.system",
    "quality.differences.*.*": "sections.baselines.leads.*.difference.*",
    "quality.activity": "sections.groups.activity",
    "quality.repeat_share": "sections.discovery.repeat_fraction",
    "quality.found": "sections.discovery.recall",
    "quality.at_k": "sections.lists.systems",
    "quality.classified": "sections.classifier.systems",
    "quality.confusion": "sections.classifier.confusion",
    "quality.distribution": "sections.classifier.distribution",
    "quality.calibration": "sections.calibration.scores",
    "reasons.backend": "sections.features.backend",
    "reasons.trees": "sections.sizes.trees",
    "reasons.leaves": "sections.sizes.leaves",
    "reasons.alpha": "sections.blend.alpha",
    "reasons.drift": "sections.blend.drift",
    "reasons.importance": "sections.features.importance",
    "reasons.contributions.*.places": "sections.features.contributions.*.percentiles",
    "reasons.contributions": "sections.features.contributions",
    "reasons.sampled_rows": "sections.features.sampled_rows",
    "reasons.sampled_users": "sections.ablation.sampled_users",
    "reasons.validation": "sections.ablation.ndcg",
    "reasons.groups.*.loss": "sections.ablation.groups.*.lost",
    "reasons.groups": "sections.ablation.groups",
    "reasons.without.*.loss": "sections.ablation.sources.*.lost",
    "reasons.without": "sections.ablation.sources",
    "reasons.sources.*.alone": "sections.candidates.sources.*.recall_alone",
    "reasons.sources": "sections.candidates.sources",
    "reasons.curve": "sections.blend.curve",
    "reasons.sizes": "sections.sizes.sizes",
    "reasons.sweep": "sections.sweep",
    "people.*.found": "sections.examples.users.*.hits",
    "people": "sections.examples.users",
}
"""Paths in report.json, which is now by section."""

MOVED: Final[dict[str, str]] = {
    **{f"{place}{old}": f"{place}{new}" for old, new in SETTINGS.items() for place in ("config.", "manifest.")},
    "manifest.discover": "manifest.discovery_blend",
    **PRERANKERS,
    **{f"report.{old}": f"report.{new}" for old, new in REPORT.items()},
}
"""Path in OLD, to a value or to a branch: its path in NEW, with as many `*`, such as "config.a.size": "config.b.size".

It also serves for a name that is changed in one place alone. Settings that `--quick` passes are moved with it.
"""

DROPPED: Final[dict[str, str]] = {
    "manifest.format": "the format has another number",
    "report.quality.seeds": "a setting, which config.json holds",
    "report.quality.ours": "always the hybrid",
    "report.sections.ablation.sources.*.features": "of a source always 0",
    "report.sections.ablation.sources.*.gain": "of a source always null",
}
"""Path, to a value or to a branch, that OLD has and NEW has no more: the reason.

Where an entry of a list is left out, the next one takes its place. A path in both DROPPED and ADDED is not compared.
"""

TWICE: Final = "the same number as in another section"
ADDED: Final[dict[str, str]] = {
    "manifest.format": "the format has another number",
    "manifest.data": "a version names its data",
    "manifest.test_days": "a version tells the window that its metrics are of",
    "manifest.sources": "a version lists its sources",
    "manifest.statistics": "a version lists its statistics",
    "manifest.prerankers.*.knots": "the ranks at which the weights of `ranks` hold",
    "config.inference.candidates.sources.recent.size": "one setting of two sources has become two",
    "manifest.inference.candidates.sources.recent.size": "one setting of two sources has become two",
    **{f"report.head.{name}": TWICE for name in ("start", "end", "events", "items", "ndcg", "lead", "hit")},
    **{f"report.head.{name}": TWICE for name in ("candidates", "recall")},
    **{
        f"report.sections.{name}.k": TWICE
        for name in ("baselines", "groups", "discovery", "ablation", "blend", "sizes")
    },
    **{f"report.sections.{name}.baseline": TWICE for name in ("baselines", "groups")},
    "report.sections.baselines.confidence": TWICE,
    "report.sections.baselines.table": TWICE,
    "report.sections.features.trees": TWICE,
    "report.sections.input_quality.quarantined": TWICE,
    "report.sections.input_quality.repeated": TWICE,
}
"""Path, to a value or to a branch, that NEW has and OLD had not yet: the reason."""

UNORDERED: Final[dict[str, str]] = dict.fromkeys(
    ("report.reasons.importance", "report.sections.features.importance"),
    "features of equal gain are in the order of their names",
)
"""Path of a list whose entries may stand in another order: the reason.

Such as "report.reasons.importance", where features of equal gain are in the order of their names. It is applied to both
before MOVED.
"""

VARYING: Final[dict[str, str]] = {
    "manifest.created": "the time of day",
    "report.head.created": "the time of day",
    "http /health.body.model.created": "the time of day",
    "metrics.quality.quarantine": "a path that holds the work folder",
}
"""Path whose value differs from run to run of the same code: the reason."""
