"""Implicit-feedback matrix factorization with cmfrec."""

from collections.abc import Iterable

import numpy as np
from pydantic import Field, PositiveFloat, field_validator
from scipy import sparse

from recsys.errors import ModelError, TooLittleData
from recsys.histories import Histories
from recsys.models.factors import ItemFactors, cells
from recsys.schema import EVENT_TYPES, UNKNOWN, Config, EventWeights

TEST_USERS = 2_000
"""Users, at most, whose held-out items decide about the confidence."""
MIN_GAIN = 0.005
"""The relative gain that a larger confidence must bring; a smaller gain is noise."""


class FactorizationConfig(Config):
    """Settings of the factorization.

    A cell of the matrix is a pair of a user and an item. Its value v is the sum of the weights of its events, or
    ln(1 + sum). Its confidence is 1 + alpha * v, and 1 without an event (Hu, Koren, Volinsky 2008). alpha, λ and the
    weight of the attributes are relative to the data. So the same settings fit a sample of users and a denser log.
    """

    factors: int = Field(50, ge=1, le=1000)
    """Dimensions of the latent space."""

    confidence: float | None = Field(None, gt=0)
    """Sum of alpha * value over all cells, as a fraction of the number of cells (users times items). About 0.003 is
    best for a dense log of repeat purchases, 0.1 and more for short sessions. None: chosen on held-out items."""

    confidence_grid: tuple[PositiveFloat, ...] = Field((0.003, 0.01, 0.03, 0.1, 0.3), min_length=1)
    """Confidences to choose from. They are tried from the smallest upwards until one is no better than the last."""

    regularization: float = Field(0.1, gt=0)
    """The ridge penalty λ on all factors, in units of n / sqrt(n_users * n_items), where n is the number of cells
    with events. The singular values of the matrix grow with this unit."""

    attribute_weight: float = Field(0.02, gt=0)
    """Weight of the squared error of item attributes, in units of λ."""

    item_attributes: bool = True
    """Factorize item attributes together with the interactions, if the catalog has attributes."""

    iterations: int = Field(8, ge=1)
    """Rounds of alternating least squares."""

    event_weights: EventWeights = EventWeights()
    """Weight of an event of each type in the value of its cell; types of weight 0 are left out."""

    log_values: bool = True
    """Use ln(1 + sum) as the value of a cell, so that a hundred views do not count a hundred times as much as one."""

    min_items: int = Field(2, ge=1)
    """Distinct items that a user needs to be in the fit. From a user of one item nothing follows for other items."""

    max_users: int = Field(200_000, ge=1)
    """Users, at most, in the fit of the published factors; if there are more, a random sample."""

    max_users_for_examples: int = Field(60_000, ge=1)
    """Users, at most, in each fit for a training cut."""

    max_users_for_choice: int = Field(20_000, ge=1)
    """Users, at most, in each fit that serves to choose the confidence."""

    seed: int = Field(0, ge=0)
    """Seed of the initial factors and of the samples of users."""

    threads: int = Field(1, ge=1)
    """Threads of the fit. The factors do not depend on their number."""

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

    item_attributes: (n_items, n_attributes), one row for each item code, positive where the item has the attribute;
    or None
    max_users: replaces `config.max_users`

    Users with at least `config.min_items` distinct items take part. If they are more than `max_users`, a random
    sample of them takes part. Items without an event of these users have no factor. The same histories give the same
    bits. If the config has no confidence, it is chosen first; for several fits call `with_confidence` once before.
    Raises TooLittleData if no user can take part, ModelError if the factors are not finite.
    """
    config = with_confidence(histories, n_items, item_attributes, config)
    sample = histories.take(_sample(histories, config, max_users or config.max_users))
    return _fit(sample, n_items, item_attributes, config)


def no_factors(n_items: int, config: FactorizationConfig) -> ItemFactors:
    """Factors of no item at all, where there is nothing to fit. No user is warm with them."""
    rows = np.full(n_items, UNKNOWN, np.int32)
    weights = np.array(config.event_weights.by_code())
    return ItemFactors(
        np.zeros((0, 1), np.float32), rows, np.zeros((1, 1)), weights, config.regularization, 0.0, config.log_values
    )


def with_confidence(
    histories: Histories, n_items: int, item_attributes: sparse.csr_array | None, config: FactorizationConfig
) -> FactorizationConfig:
    """The config with a confidence: its own, or the best one of its grid by `held_out_quality`."""
    if config.confidence is not None:
        return config
    qualities = (
        (settings, held_out_quality(histories, n_items, item_attributes, settings)) for settings in confidences(config)
    )
    return best_confidence(qualities)


def confidences(config: FactorizationConfig) -> list[FactorizationConfig]:
    """Copies of the config, one for each confidence of its grid, the smallest first."""
    return [config.model_copy(update={"confidence": confidence}) for confidence in sorted(config.confidence_grid)]


def best_confidence(qualities: Iterable[tuple[FactorizationConfig, float]]) -> FactorizationConfig:
    """The config before the first one that brings no gain over its predecessor (MIN_GAIN).

    qualities: one or more configs of rising confidence, each with its quality; no config after that one is read
    """
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
    """The quality of a fit with the config's confidence on held-out items; 0 if no other events are left to learn from.

    The histories are sampled. The latest item of up to TEST_USERS users, at most half of the sample, is taken out with
    all events that the user has on it. The quality is the mean of 1 / log2(1 + rank), where rank is the rank of this
    item among the items new to the user.
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
    """Mean of 1 / log2(1 + rank) of one target item per user; targets: int (n_users,), item codes."""
    user_factors, warm = model.fold_in(histories)
    gains = np.zeros(len(targets))
    item_rows = model.rows[histories.items]
    for user in np.flatnonzero(warm & (model.rows[targets] != UNKNOWN)):
        scores = model.factors @ user_factors[user]
        target = scores[model.rows[targets[user]]]
        seen = item_rows[histories.offsets[user] : histories.offsets[user + 1]]
        scores[seen[seen != UNKNOWN]] = -np.inf
        gains[user] = 1 / np.log2(2 + np.count_nonzero(scores > target))
    return float(gains.mean())


def _sample(histories: Histories, config: FactorizationConfig, max_users: int) -> np.ndarray:
    """Positions of the users in a fit, int64 (at most max_users,), ascending."""
    users, _, _ = cells(histories, np.array(config.event_weights.by_code()), config.log_values)
    eligible = np.flatnonzero(np.bincount(users, minlength=len(histories)) >= config.min_items)
    if len(eligible) <= max_users:
        return eligible
    return np.sort(np.random.default_rng(config.seed).choice(eligible, max_users, replace=False))


def _fit(
    histories: Histories, n_items: int, item_attributes: sparse.csr_array | None, config: FactorizationConfig
) -> ItemFactors:
    """Item factors from all of these histories; `config.confidence` must be set."""
    weights = np.array(config.event_weights.by_code())
    users, items, values = cells(histories, weights, config.log_values)
    if not len(users):
        raise TooLittleData(
            f"factorization: no user has {config.min_items} or more distinct items with events of positive "
            f"weight ({', '.join(EVENT_TYPES)}: {weights.tolist()}); expected at least one such user"
        )
    fitted_users, row = np.unique(users, return_inverse=True)
    known, column = np.unique(items, return_inverse=True)
    shape = len(fitted_users), len(known)
    area = float(shape[0] * shape[1])
    alpha = (config.confidence or 0) * area / float(values.sum())
    regularization = config.regularization * len(values) / area**0.5
    matrix = sparse.coo_matrix((values, (row, column)), shape=shape)
    factors = _factorize(matrix, _attributes(item_attributes, known, config), alpha, regularization, config)
    rows = np.full(n_items, UNKNOWN, np.int32)
    rows[known] = np.arange(len(known))
    exact = factors.astype(np.float64)
    return ItemFactors(factors, rows, exact.T @ exact, weights, regularization, alpha, config.log_values)


def _factorize(
    matrix: sparse.coo_matrix,
    side: sparse.coo_matrix | None,
    alpha: float,
    regularization: float,
    config: FactorizationConfig,
) -> np.ndarray:
    """The item factors B, float32 C-contiguous (n_columns, k); side: attributes of the items, or None."""
    from cmfrec import CMF_implicit  # noqa: PLC0415 - a slow import, and only a fit needs it

    model = CMF_implicit(
        k=config.factors,
        lambda_=regularization,
        alpha=alpha,
        niter=config.iterations,
        w_item=config.attribute_weight * regularization,
        # A missing attribute counts as zero: from ones alone nothing could be learned. This mode needs `center_I`:
        # without it, cmfrec reads memory that it never wrote.
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
    """Attribute rows of the items in the fit, or None. With rows for other items, cmfrec writes past its memory."""
    if attributes is None or not config.item_attributes:
        return None
    side = sparse.csr_matrix(attributes)[known]
    side.sort_indices()
    used = np.flatnonzero(np.bincount(side.indices, minlength=side.shape[1]))
    return side[:, used].tocoo() if len(used) else None
