"""The report's part on how good the model is."""

from collections.abc import Sequence

from recsys.report import figures_quality as figures
from recsys.report.content import Quality, Row
from recsys.report.drawing import Picture, counted, percent
from recsys.report.sections import Cell, Part, Section, Table


def part(quality: Quality) -> Part:
    return Part(
        "How good it is",
        (_against(quality), _groups(quality), _new_items(quality), _lists(quality), _classifier(quality),
         _calibration(quality)),
    )  # fmt: skip


def headline(quality: Quality, system: str | None = None) -> Row:
    """The row of a system for all users, by default of what is published."""
    wanted = quality.ours if system is None else system
    return next(row for row in quality.table if row["system"] == wanted and row["group"] == "all")


def difference(quality: Quality) -> Row:
    """The paired difference to the best baseline."""
    return next(row for row in quality.differences if row["system"] == quality.baseline)


def number(row: Row, name: str) -> float:
    value = row[name]
    return float(value) if value is not None else float("nan")


def _against(quality: Quality) -> Section:
    metric = f"ndcg@{quality.k}"
    row, gap = headline(quality), difference(quality)
    low, high = number(gap, "low"), number(gap, "high")
    verdict = "ahead of" if low > 0 else "behind" if high < 0 else "level with"
    level = f"{quality.confidence * 100:.4g}%"
    says = (
        f"On the {quality.test_days} days held out, {quality.users:,} users, the {quality.ours} reaches "
        f"NDCG@{quality.k} {number(row, metric):.3f}. It is {verdict} the best baseline, {quality.baseline}: "
        f"{number(gap, 'mean'):+.4f} ({level} interval {low:+.4f} to {high:+.4f}, paired by user)."
    )
    pictures = [
        Picture(
            "systems",
            f"NDCG@{quality.k} of the {quality.ours}, its parts and the baselines with their {level} intervals.",
            f"All systems are judged on the same users; whiskers are {level} intervals over users.",
            lambda figure: figures.systems(figure, quality.table, metric, "All users"),
        ),
        Picture(
            "differences",
            f"NDCG@{quality.k} of the {quality.ours} minus that of each other system, with {level} intervals.",
            "Paired by user, so narrower than the whiskers of the two suggest; grey where zero is within the interval.",
            lambda figure: figures.differences(figure, quality),
        ),
    ]
    gaps = [(str(row["system"]), row["mean"], row["low"], row["high"]) for row in quality.differences]
    tables = [
        _metrics("Metrics of all users", quality, quality.table, ("all",)),
        Table(f"{quality.ours} minus the others, NDCG@{quality.k}", ("system", "mean", "low", "high"), gaps),
    ]
    return Section("baselines", "Against baselines", says, pictures, tables)


def _metrics(caption: str, quality: Quality, rows: Sequence[Row], groups: Sequence[str]) -> Table:
    k = quality.k
    names = [f"{name}@{k}" for name in ("ndcg", "recall", "precision", "hit", "mrr", "coverage")]
    names[1:1] = [f"ndcg@{k}_low", f"ndcg@{k}_high"]
    names += [name for name in (f"ndcg@{k}_seeds", "roc_auc", "average_precision") if name in rows[0]]
    shown = {f"ndcg@{k}_low": "low", f"ndcg@{k}_high": "high", f"ndcg@{k}_seeds": "seeds (s.d.)", "roc_auc": "ROC-AUC"}
    columns = ("system", "group", "users", *(shown.get(name, name.replace("_", " ")) for name in names))
    chosen = [row for row in rows if row["group"] in groups]
    return Table(
        caption, columns, [(row["system"], row["group"], row["users"], *(row[n] for n in names)) for row in chosen]
    )


def _groups(quality: Quality) -> Section:
    metric = f"ndcg@{quality.k}"
    names = [quality.ours, *dict.fromkeys((quality.baseline, "popularity")), "factorization alone"]
    names = [name for name in names if number(headline(quality, name), metric) > 0 or name == quality.ours]
    cold = next(row for row in quality.table if row["system"] == quality.ours and row["group"] == "cold")
    worst, best = (pick(quality.activity, key=lambda group: group.systems[quality.ours].mean) for pick in (min, max))
    says = (
        f"{percent(number(cold, 'users') / quality.users)} of the test users are cold: they have no event on an item "
        "that the factorization knows."
    )
    if len(quality.activity) > 1:
        says += (
            f" The {quality.ours} is best for users with {_events(best.low, best.high)} of history "
            f"({best.systems[quality.ours].mean:.3f}) and weakest for those with {_events(worst.low, worst.high)} "
            f"({worst.systems[quality.ours].mean:.3f})."
        )
    pictures = [
        Picture(
            "warm-and-cold",
            f"NDCG@{quality.k} of all, warm and cold users by system.",
            "Where a group has few users, read the whiskers.",
            lambda figure: figures.by_warmth(figure, quality, names),
            4.0,
        ),
        Picture(
            "by-activity",
            f"NDCG@{quality.k} by the number of events in the user's history.",
            "Users in quarters by the length of their history.",
            lambda figure: figures.by_activity(figure, quality.activity, quality.k),
            4.0,
        ),
    ]
    rows = [
        (f"{group.low:,} to {group.high:,}", group.users, name, found.mean, found.low, found.high)
        for group in quality.activity
        for name, found in group.systems.items()
    ]
    tables = [
        _metrics("Metrics of warm and of cold users", quality, quality.table, ("warm", "cold")),
        Table("By events in the history", ("events", "users", "system", metric, "low", "high"), rows),
    ]
    return Section("groups", "Whom it serves", says, pictures, tables)


def _events(low: int, high: int) -> str:
    if high == 0:
        return "no event"
    return f"{counted(low)} events" if low == high else f"{counted(low)} to {counted(high)} events"


def _new_items(quality: Quality) -> Section:
    metric, k = f"ndcg@{quality.k}", quality.k
    ours = next(row for row in quality.found if row.system == quality.ours)
    new = figures.shown(quality.new_items, metric)
    says = (
        f"{percent(quality.repeat_share)} of what users went on to choose they had met before. The first {k} items of "
        f"the {quality.ours} hold {_share(ours.repeat)} of these and {_share(ours.new)} of what was new to the user."
    )
    pictures = [
        Picture(
            "repeat-and-new",
            f"Share of the chosen items that are among the first {k}, of items the user had met and of others, by "
            "system; the candidates are the most that is possible.",
            "Grey is what the candidates hold: no ranking of them can find more.",
            lambda figure: figures.repeat_and_new(figure, quality.found, k, quality.repeat_share),
            4.0,
        )
    ]
    if new:
        pictures.append(
            Picture(
                "new-items",
                f"NDCG@{k} over items new to the user, by system, with intervals.",
                "Candidates and truth without what the user has had: discovery alone.",
                lambda figure: figures.systems(figure, quality.new_items, metric, "Only items new to the user"),
            )
        )
    rows = [(row.system, row.repeat, row.new) for row in quality.found]
    tables = [Table(f"Share of the chosen items found in the first {k}", ("system", "had before", "new"), rows)]
    if quality.new_items:
        tables.append(_metrics("Only items new to the user", quality, quality.new_items, ("all", "warm", "cold")))
    return Section("new", "Repeats and discoveries", says, pictures, tables)


def _share(share: float | None) -> str:
    return "none" if share is None else percent(share)


def _lists(quality: Quality) -> Section:
    ours = quality.at_k[quality.ours]
    depth = len(ours.recall)
    says = (
        f"Of the first item {percent(ours.precision[0])} are chosen, of the first {depth} on average "
        f"{percent(ours.precision[-1])}; these {depth} hold {percent(ours.recall[-1])} of what a user then chose."
    )
    pictures = [
        Picture(
            f"{part}-at-k",
            f"{part.capitalize()} of the first k items for k from 1 to {depth}, by system.",
            seen,
            lambda figure, part=part: figures.at_k(figure, quality, part),  # type: ignore[misc]
            4.0,
        )
        for part, seen in (
            ("precision", "How often a shown item is right, by how many are shown."),
            ("recall", "How much of what was chosen is shown; a list of k items cannot hold more than k."),
        )
    ]
    ks = [k for k in (1, 5, 10, 20) if k <= depth]
    rows: list[list[Cell]] = [
        [name, *(found.precision[k - 1] for k in ks), *(found.recall[k - 1] for k in ks)]
        for name, found in quality.at_k.items()
    ]
    columns = ("system", *(f"P@{k}" for k in ks), *(f"R@{k}" for k in ks))
    return Section("lists", "By length of the list", says, pictures, [Table("Precision and recall", columns, rows)])


def _classifier(quality: Quality) -> Section:
    title = "As a classifier of candidates"
    ours, matrix = quality.classified.get(quality.ours), quality.confusion
    if ours is None or matrix is None:
        return Section("classifier", title, "The candidates of the test window are all hits or all misses.")
    chosen, hits = matrix.true_positives + matrix.false_positives, matrix.true_positives + matrix.false_negatives
    total = chosen + matrix.false_negatives + matrix.true_negatives
    says = (
        f"A hit scores above a miss in {percent(ours.roc_auc)} of the cases. The threshold {matrix.threshold:.3g}, "
        f"best by F1 on the validation window ({matrix.f1:.3f} there), lets through {percent(chosen / total)} of the "
        f"candidates: {percent(matrix.true_positives / max(chosen, 1))} of these are hits, and they are "
        f"{percent(matrix.true_positives / max(hits, 1))} of all hits."
    )
    pictures = [
        Picture(
            "roc",
            "ROC curves of the systems over the pooled candidates, with the area under each.",
            "All candidates of all users, pooled; baselines score the same candidates.",
            lambda figure: figures.roc(figure, quality),
        ),
        Picture(
            "precision-recall",
            "Precision against recall of the systems over the pooled candidates; a star marks the chosen threshold.",
            "The star is the threshold that the confusion matrix uses.",
            lambda figure: figures.precision_recall(figure, quality),
        ),
        Picture(
            "confusion",
            f"Confusion matrix: {matrix.true_positives:,} true and {matrix.false_positives:,} false positives, "
            f"{matrix.false_negatives:,} false and {matrix.true_negatives:,} true negatives.",
            f"Beside these, {matrix.missed:,} items were chosen that were no candidates.",
            lambda figure: figures.confusion(figure, matrix),
        ),
    ]
    found = quality.distribution
    if found is not None:
        pictures.append(
            Picture(
                "score-distribution",
                "Distributions of the scores of hits and of misses on a logarithmic axis.",
                "The less the two overlap, the better one threshold tells them apart.",
                lambda figure: figures.distribution(figure, found, matrix.threshold),
            )
        )
    rows = [(name, one.roc_auc, one.average_precision) for name, one in quality.classified.items()]
    tables = [
        Table("Areas over the pooled candidates", ("system", "ROC-AUC", "average precision"), rows),
        Table(
            f"Candidates at the threshold {matrix.threshold:.4g}",
            ("items", "at or above", "below"),
            [
                ("chosen", matrix.true_positives, matrix.false_negatives),
                ("not chosen", matrix.false_positives, matrix.true_negatives),
            ],
        ),
    ]
    return Section("classifier", title, says, pictures, tables)


def _calibration(quality: Quality) -> Section:
    found = quality.calibration
    if not any(y.mean > 0 for bins in found.values() for y in bins.observed):
        return Section("calibration", "Calibration", "No candidate of the test window is a hit.")
    says = (
        f"Scores read as chances: where the score says p, a share of p should be hits. The published score is off by "
        f"{percent(found['score'].error)} on average over the candidates; calibrations were fitted on the validation "
        "window and are judged on the test window."
    )
    picture = Picture(
        "calibration",
        "Observed share of hits against the predicted one for score, lgb_score and mf_score, on logarithmic axes.",
        "On the dotted line scores are right, above it hits are more frequent than predicted; 95% intervals.",
        lambda figure: figures.calibration(figure, found),
        4.0,
    )
    rows = [
        (name, count, predicted, one.mean, one.low, one.high)
        for name, bins in found.items()
        for count, predicted, one in zip(bins.counts, bins.predicted, bins.observed, strict=True)
    ]
    table = Table("Bins of rising score", ("score", "candidates", "predicted", "observed", "low", "high"), rows)
    return Section("calibration", "Calibration", says, [picture], [table])
