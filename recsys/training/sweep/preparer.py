"""Data of trials that differ in settings of the factorization or the examples, prepared once for each combination."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs, TableRefs, build_inputs

KEPT: Final = 2
"""Prepared data sets that a sweep over their settings holds at a time."""


class Preparer:
    """Prepares the ranker's inputs and keeps the last few; runs as one actor for all trials of a sweep."""

    def __init__(self) -> None:
        self._inputs: OrderedDict[str, RankerInputs] = OrderedDict()
        self._tables: OrderedDict[str, TableRefs] = OrderedDict()

    def prepare(
        self,
        shop: "list[ray.ObjectRef[ShopData]]",
        start_config: TrainConfig,
        start_inputs: RankerInputs,
        config: TrainConfig,
    ) -> RankerInputs:
        """The ranker's inputs for `config`.

        shop: one reference, in a list so that Ray does not fetch it; start_config, start_inputs: of the sweep's start
        """
        key = _data_key(config)
        if key == _data_key(start_config):
            return start_inputs
        if key not in self._inputs:
            context = Context.create(ray.get(shop[0]), config, work="")
            tables_key = _tables_key(config, context.plan.tables)
            if tables_key == _tables_key(start_config, start_inputs.plan.tables):
                tables: TableRefs | None = start_inputs.tables
            else:
                tables = self._tables.get(tables_key)
            inputs = build_inputs(context, tables)
            _keep(self._tables, tables_key, inputs.tables)
            _keep(self._inputs, key, inputs)
        self._inputs.move_to_end(key)
        return self._inputs[key]


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def _data_key(config: TrainConfig) -> str:
    """The settings that the ranker's inputs depend on."""
    defaults = TrainConfig()
    return config.model_copy(update={"ranker": defaults.ranker, "hybrid": defaults.hybrid}).model_dump_json()


def _tables_key(config: TrainConfig, cuts: Sequence[Cut]) -> str:
    """The settings that the tables depend on."""
    return f"{_data_key(config.model_copy(update={'examples': TrainConfig().examples}))} {[cut.age for cut in cuts]}"
