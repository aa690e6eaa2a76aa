"""Implicit-feedback matrix factorization with cmfrec."""

from collections.abc import Iterable

import numpy as np
from pydantic import Field, PositiveFloat, field_validator
from scipy import sparse

from recsys.errors import ModelError
from recsys.histories import Histories
from recsys.models.factors import ItemFactors, cells
from recsys.schema import EVENT_TYPES, UNKNOWN, Config, EventWeights

TEST_USERS = 2_000
MIN_GAIN = 0.005
"""Of the choice of confidence: users who are tested, and the relative gain below which a step up is noise."""


class FactorizationConfig(Config):
    """Settings of the factorization.

    A cell's value is the sum of its events' weights, or its ln(1 + sum); confidence is 1 + alpha * value, and
    1 where a user never met an item (Hu, Koren, Volinsky 2008). alpha, λ and the attributes' weight are given
    relative to the data, so that a sample of users, or a denser log, asks for no other settings.
    """

    factors: int = Field(50, ge=1, le=1000)
    """Dimensions of the latent space."""

    confidence: float | None = Field(None, gt=0)
    """What alpha * value adds up to, as a share of the number of all cells. About 0.003 is best for a dense
    log of repeat purchases, 0.1 and more for short sessions; None chooses it on held-out items."""

    confidence_grid: tuple[PositiveFloat, ...] = Field((0.003, 0.01, 0.03, 0.1, 0.3), min_length=1)
    """Where to choose from, upwards until the next one is no better."""

    regularization: float = Field(0.1, gt=0)
    """The ridge penalty λ on all factors, in units of n_cells / sqrt(n_users * n_items), as which the
    singular values of the matrix grow."""

    attribute_weight: float = Field(0.02, gt=0)
    """Weight of the squared error of item attributes, in units of λ."""

    item_attributes: bool = True
    """Factorize item attributes along with the interactions, where there are any."""

    iterations: int = Field(8, ge=1)
    """Rounds of alternating least squares."""

    event_weights: EventWeights = EventWeights()
    """What an event adds to its cell by type; a type of weight 0 is left out."""

    log_values: bool = True
    """Take ln(1 + sum) of a cell, so that a hundred views are not a hundred times one."""

    min_items: int = Field(2, ge=1)
    """Distinct items a user needs to take part in the fit: one alone says nothing about pairs of items."""

    max_users: int = Field(200_000, ge=1)
    """Users in the fit of the published factors; more than these are sampled."""

    max_users_for_examples: int = Field(60_000, ge=1)
    """The same for the fits of the training cuts."""

    max_users_for_choice: int = Field(20_000, ge=1)
    """The same for the fits that choose the confidence."""

    seed: int = Field(0, ge=0)
    """Of the initial factors and of the user samples."""

    threads: int = Field(1, ge=1)
    """Threads of the fit; the factors do not depend on it."""

    @field_validator("event_weights")
    @classmethod
    def _some(cls, weights: EventWeights) -> EventWeights:
        if not any(weights.by_code()):
            raise ValueError("expected a weight above 0 for at least one event type")
        return weights


def fit(
    histories: Histories,
    n_items: int,
    item_attributes: sparse.csr_array | None,
    config: FactorizationConfig,
    max_users: int | None = None,
) -> ItemFactors:
    """Item factors from all events of `histories`.

    item_attributes: (n_items, n_attributes), a row for each item code, positive where it has the
    attribute; or None
    max_users: instead of the config's

    Users with `min_items` distinct items take part, a random sample of them where they are more than
    `max_users`. Items that none of these met have no factor. The same histories give the same bits. Where the
    config leaves the confidence open it is chosen first; choose it once with `with_confidence` for several
    fits. Raises ModelError where no user can take part.
    """
    config = with_confidence(histories, n_items, item_attributes, config)
    sample = histories.take(_sample(histories, config, max_users or config.max_users))
    return _fit(sample, n_items, item_attributes, config)


def with_confidence(
    histories: Histories, n_items: int, item_attributes: sparse.csr_array | None, config: FactorizationConfig
) -> FactorizationConfig:
    """The config with its confidence set; if open, it climbs the grid while held-out items are found better.

    See `held_out_quality` for the measure.
    """
    if config.confidence is not None:
        return config
    qualities = (
        (settings, held_out_quality(histories, n_items, item_attributes, settings)) for settings in confidences(config)
    )
    return best_confidence(qualities)


def confidences(config: FactorizationConfig) -> list[FactorizationConfig]:
    """The config with each confidence of its grid, from the smallest."""
    return [config.model_copy(update={"confidence": confidence}) for confidence in sorted(config.confidence_grid)]


def best_confidence(qualities: Iterable[tuple[FactorizationConfig, float]]) -> FactorizationConfig:
    """Of configs and their quality, one or more, the last before the first that gains nothing."""
    steps = iter(qualities)
    chosen, best = next(steps)
    for config, quality in steps:
        if quality <= best * (1 + MIN_GAIN):
            break
        chosen, best = config, quality
    return chosen


def held_out_quality(
    histories: Histories, n_items: int, item_attributes: sparse.csr_array | None, config: FactorizationConfig
) -> float:
    """How well a fit with the config's confidence finds held-out items; 0 where there is nothing else to learn from.

    From a sample of the histories, the latest items of up to 2,000 users, at most half of them, are taken
    out with all their events. The measure is the mean of 1 / log2(1 + rank) of these items among all that
    are new to the user.
    """
    sample = histories.take(_sample(histories, config, config.max_users_for_choice))
    tested = np.arange(0, len(sample), max(2, -(-len(sample) // TEST_USERS)))
    latest = np.full(len(sample), UNKNOWN)
    latest[tested] = sample.items[sample.offsets[tested + 1] - 1]
    rest = sample.where(sample.items != latest[sample.rows])
    if not len(rest.items):
        return 0.0
    return _quality(_fit(rest, n_items, item_attributes, config), rest.take(tested), latest[tested])


def _quality(model: ItemFactors, histories: Histories, targets: np.ndarray) -> float:
    """Mean of 1 / log2(1 + rank) of one target item a user; targets: int (n_users,), item codes."""
    user_factors, warm = model.fold_in(histories)
    gains = np.zeros(len(targets))
    columns = model.rows[histories.items]
    for user in np.flatnonzero(warm & (model.rows[targets] != UNKNOWN)):
        scores = model.factors @ user_factors[user]
        target = scores[model.rows[targets[user]]]
        own = columns[histories.offsets[user] : histories.offsets[user + 1]]
        scores[own[own != UNKNOWN]] = -np.inf
        gains[user] = 1 / np.log2(2 + np.count_nonzero(scores > target))
    return float(gains.mean())


def _sample(histories: Histories, config: FactorizationConfig, max_users: int) -> np.ndarray:
    """Who takes part in a fit, int64 (at most max_users,), ascending."""
    users, _, _ = cells(histories, np.array(config.event_weights.by_code()), config.log_values)
    able = np.flatnonzero(np.bincount(users, minlength=len(histories)) >= config.min_items)
    if len(able) <= max_users:
        return able
    return np.sort(np.random.default_rng(config.seed).choice(able, max_users, replace=False))


def _fit(
    histories: Histories, n_items: int, item_attributes: sparse.csr_array | None, config: FactorizationConfig
) -> ItemFactors:
    """Item factors from exactly these histories, with a confidence that is set."""
    weights = np.array(config.event_weights.by_code())
    users, items, values = cells(histories, weights, config.log_values)
    if not len(users):
        raise ModelError(
            f"factorization: no user has {config.min_items} or more distinct items with events of positive "
            f"weight ({', '.join(EVENT_TYPES)}: {weights.tolist()}); expected at least one"
        )
    taking_part, row = np.unique(users, return_inverse=True)
    known, column = np.unique(items, return_inverse=True)
    shape = len(taking_part), len(known)
    area = float(shape[0] * shape[1])
    alpha = (config.confidence or 0) * area / float(values.sum())
    regularization = config.regularization * len(values) / area**0.5
    matrix = sparse.coo_matrix((values, (row, column)), shape=shape)
    factors = _factorize(matrix, _attributes(item_attributes, known, config), alpha, regularization, config)
    rows = np.full(n_items, UNKNOWN, np.int32)
    rows[known] = np.arange(len(known))
    wide = factors.astype(np.float64)
    return ItemFactors(factors, rows, wide.T @ wide, weights, regularization, alpha, config.log_values)


def _factorize(
    matrix: sparse.coo_matrix,
    side: sparse.coo_matrix | None,
    alpha: float,
    regularization: float,
    config: FactorizationConfig,
) -> np.ndarray:
    """B of the factorization, float32 C-contiguous (n_columns, k)."""
    from cmfrec import CMF_implicit  # noqa: PLC0415 - as slow to import as all else here; only a fit needs it

    model = CMF_implicit(
        k=config.factors,
        lambda_=regularization,
        alpha=alpha,
        niter=config.iterations,
        w_item=config.attribute_weight * regularization,
        # A missing attribute is a zero: with ones alone there would be nothing to tell apart. With that,
        # cmfrec needs the centring: without it, it reads memory that it never wrote.
        NA_as_zero_item=True,
        center_I=True,
        random_state=config.seed,
        nthreads=config.threads,
        precompute_for_predictions=False,
        handle_interrupt=False,
        verbose=False,
    )
    model.fit(matrix, I=side)
    factors = np.ascontiguousarray(model.B_, np.float32)
    if not np.isfinite(factors).all():
        raise ModelError(
            f"factorization: factors of {matrix.shape[0]} users x {matrix.shape[1]} items are not finite; "
            f"expected a larger factorization.regularization than {config.regularization}"
        )
    return factors


def _attributes(
    attributes: sparse.csr_array | None, known: np.ndarray, config: FactorizationConfig
) -> sparse.coo_matrix | None:
    """Attribute rows of the known items: cmfrec writes past its memory when it gets rows for any others."""
    if attributes is None or not config.item_attributes:
        return None
    side = sparse.csr_matrix(attributes)[known]
    side.sort_indices()
    used = np.flatnonzero(np.bincount(side.indices, minlength=side.shape[1]))
    return side[:, used].tocoo() if len(used) else None
