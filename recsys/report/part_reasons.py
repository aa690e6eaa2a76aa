"""The report's part on what the model goes by."""

from typing import TYPE_CHECKING

from recsys.report import figures_reasons as figures
from recsys.report.content import Loss, Reasons, Sweep
from recsys.report.drawing import Picture, percent, several
from recsys.report.sections import Cell, Part, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def part(reasons: Reasons, k: int, recall: float) -> Part:
    swept = [_sizes(reasons, k)] if reasons.sizes else []
    swept += [] if reasons.sweep is None else [_sweep(reasons.sweep)]
    return Part(
        "Why", (_features(reasons), _ablation(reasons, k), _candidates(reasons, recall), _blend(reasons, k), *swept)
    )


def _features(reasons: Reasons) -> Section:
    used = [row for row in reasons.importance if row.gain > 0]
    half, total = 0, 0.0
    while half < len(used) and total < 0.5:
        total += used[half].gain
        half += 1
    if not used:
        return Section("features", "Features", "The trees split by no feature: all candidates score the same.")
    says = (
        f"{len(used)} of {len(reasons.importance)} features are used by the {reasons.trees} trees; {half} make half of "
        f"the gain, first {used[0].name}: {used[0].meaning}."
    )
    pictures = [
        Picture(
            "importance",
            f"The {min(len(used), figures.TOP)} features with the largest share of the gain of all splits.",
            f"Gain of all splits in the published ranker, grown by {reasons.backend}.",
            lambda figure: figures.importance(figure, reasons.importance),
            1.0 + 0.25 * min(len(used), figures.TOP),
        )
    ]
    if reasons.contributions:
        pictures.append(
            Picture(
                "contributions",
                "For each of the features that add most, a dot a candidate by what the feature adds to its raw score, "
                "coloured by the feature's value.",
                f"A dot is a candidate of the validation window; the trees' own SHAP values, by mean of "
                f"{reasons.sampled_rows:,} candidates.",
                lambda figure: figures.contributions(figure, reasons.contributions),
                1.2 + 0.33 * len(reasons.contributions),
            )
        )
    rows = [(row.name, row.group, row.meaning, row.gain) for row in used]
    means = [(row.name, row.meaning, row.mean) for row in reasons.contributions]
    tables = [
        Table("Features by share of the gain", ("feature", "group", "meaning", "gain"), rows),
        Table("Mean absolute contribution to the raw score", ("feature", "meaning", "mean"), means),
    ]
    return Section("features", "Features", says, pictures, tables)


def _ablation(reasons: Reasons, k: int) -> Section:
    most = max(reasons.groups, key=lambda row: row.loss.mean)
    says = (
        f"Shuffled across the candidates of the validation window, the features of the group {most.name} cost most: "
        f"{most.loss.mean:.3f} of NDCG@{k} {reasons.validation:.3f}. Nothing is trained again, so what other features "
        "could make up for is not made up for; what a group truly adds is less."
    )
    note = f"Of {reasons.sampled_users:,} users; whiskers are intervals over users, paired."
    pictures = [
        Picture(
            "without-features",
            f"NDCG@{k} lost where a group of features is shuffled, by group.",
            note,
            lambda figure: figures.losses(figure, reasons.groups, k, "Lost where a group of features is shuffled"),
        ),
        Picture(
            "without-source",
            f"NDCG@{k} lost where the candidates that a source finds alone are left out and its scores are missing.",
            "What a source finds alone is left out, its scores are missing, and nothing takes its place.",
            lambda figure: figures.losses(figure, reasons.without, k, "Lost without a candidate source"),
        ),
    ]
    groups = [(row.name, row.features, row.gain, *_loss(row)) for row in reasons.groups]
    sources = [(row.name, *_loss(row)) for row in reasons.without]
    tables = [
        Table(
            "Groups of features, shuffled", ("group", "features", "share of the gain", "lost", "low", "high"), groups
        ),
        Table("Sources, left out", ("source", "lost", "low", "high"), sources),
    ]
    return Section("ablation", "What would be lost", says, pictures, tables)


def _loss(row: Loss) -> tuple[Cell, ...]:
    return row.loss.mean, row.loss.low, row.loss.high


def _candidates(reasons: Reasons, recall: float) -> Section:
    best = max(reasons.sources, key=lambda row: row.recall)
    says = (
        f"The candidates hold {percent(recall)} of what users went on to choose in the test window; the source "
        f"{best.name} finds {percent(best.recall)}, {percent(best.alone)} alone. What no source proposes is lost "
        "before ranking."
    )
    picture = Picture(
        "sources",
        "Share of the candidates by source, and the share of the chosen items that the source finds, and finds alone.",
        "Most candidates come from several sources.",
        lambda figure: figures.sources(figure, reasons.sources),
        4.4,
    )
    rows = [(row.name, row.share, row.recall, row.alone) for row in reasons.sources]
    table = Table("Candidate sources", ("source", "share", "recall", "found by it alone"), rows)
    return Section("candidates", "Candidate sources", says, [picture], [table])


def _blend(reasons: Reasons, k: int) -> Section:
    metrics = {point.alpha: point.metric for point in reasons.curve}
    chosen = metrics.get(reasons.alpha, 0.0)
    alone = f", against {metrics[0.0]:.4f} of the ranker alone" if 0.0 in metrics else ""
    says = (
        f"With alpha {reasons.alpha:g} the blend has NDCG@{k} {chosen:.4f} on the validation window{alone}. The refit "
        f"on all events moved the calibrated scores by {reasons.drift:.3f} at most."
    )
    if len(reasons.curve) < 2:
        pictures = []
    else:
        pictures = [
            Picture(
                "alpha",
                f"NDCG@{k} on the validation window by alpha, with the alpha that was chosen.",
                "0 is the ranker alone, 1 the factorization where it has a score.",
                lambda figure: figures.alpha(figure.subplots(), reasons.curve, reasons.alpha, f"NDCG@{k}"),
            )
        ]
    rows = [(point.alpha, point.metric) for point in reasons.curve]
    return Section("blend", "The blend", says, pictures, [Table("By alpha", ("alpha", f"NDCG@{k}"), rows)])


def _sizes(reasons: Reasons, k: int) -> Section:
    best = max(reasons.sizes, key=lambda size: size.metric)
    says = (
        f"A request pays for every tree. Of {len(reasons.sizes)} sizes {best.trees} trees of {best.leaves} leaves were "
        f"the best on the validation window ({best.metric:.4f}); {reasons.trees} trees of {reasons.leaves} leaves are "
        "published."
    )
    picture = Picture(
        "sizes",
        f"NDCG@{k} on the validation window by trees times leaves, a line for each number of leaves.",
        "The smallest ranker that is as good as the best is enough.",
        lambda figure: figures.sizes(figure.subplots(), reasons.sizes, reasons.trees, reasons.leaves, k),
    )
    rows = [(size.trees, size.leaves, size.metric) for size in reasons.sizes]
    table = Table("By size", ("trees", "leaves", f"NDCG@{k}"), rows)
    return Section("sizes", "Size of the ranker", says, [picture], [table])


def _sweep(sweep: Sweep) -> Section:
    judged = [trial for trial in sweep.trials if trial.metric is not None]
    best = next(trial for trial in sweep.trials if trial.number == sweep.best)
    tried = several(len(sweep.trials) + sweep.more, "trial")
    says = (
        f"Of {tried}, number {sweep.best} was the best by {sweep.metric} on the "
        f"validation window{'' if best.metric is None else f' ({best.metric:.4f})'}; {sweep.outcome}."
    )
    pictures = [
        Picture(
            "sweep-trials",
            f"{sweep.metric} of each trial of the sweep, and the best so far.",
            "Trials in the order of their start.",
            lambda figure: figures.trials(figure.subplots(), sweep),
        )
    ]
    if any(trial.history for trial in judged):
        pictures.append(
            Picture(
                "sweep-growth",
                f"{sweep.metric} of the trials by the number of trees grown so far.",
                "What each trial reported while it boosted.",
                lambda figure: figures.growth(figure.subplots(), sweep),
            )
        )
    if sweep.importance:
        pictures.append(
            Picture(
                "sweep-settings",
                "Share of the variance of the metric between trials that each setting explains.",
                "By fANOVA over the trials: what is worth searching.",
                lambda figure: figures.settings(figure.subplots(), sweep.importance),
            )
        )
    if len(sweep.curve) > 1:
        pictures.append(
            Picture(
                "sweep-alpha",
                f"{sweep.metric} of the best trial by alpha.",
                "Of the best trial, whose ranker needs no refit for another alpha.",
                lambda figure: figures.alpha(figure.subplots(), sweep.curve, best.alpha, sweep.metric),
            )
        )
    keys = list(best.settings)
    rows = [
        (
            trial.number,
            trial.metric,
            trial.trees,
            trial.alpha,
            trial.status,
            *(_cell(trial.settings.get(key)) for key in keys),
        )
        for trial in sorted(sweep.trials, key=lambda one: -1.0 if one.metric is None else one.metric, reverse=True)
    ]
    more = f"; {sweep.more} behind these are left out" if sweep.more else ""
    columns = ("trial", sweep.metric, "trees", "alpha", "status", *keys)
    return Section("sweep", "The sweep", says, pictures, [Table(f"Trials, best first{more}", columns, rows)])


def _cell(value: object) -> Cell:
    return value if isinstance(value, str | int | float | None) else str(value)


def sweep_panels(figure: "Figure", sweep: Sweep) -> None:
    """All of a sweep in one figure, which is a file of its own."""
    (over_trials, over_trees), (over_settings, over_alpha) = figure.subplots(2, 2)
    figures.trials(over_trials, sweep)
    figures.growth(over_trees, sweep)
    if sweep.importance:
        figures.settings(over_settings, sweep.importance)
    else:
        over_settings.set_title("Importance: too few trials")
        over_settings.axis("off")
    best = next(trial for trial in sweep.trials if trial.number == sweep.best)
    figures.alpha(over_alpha, sweep.curve, best.alpha, sweep.metric)
