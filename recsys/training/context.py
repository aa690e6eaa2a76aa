"""The context of a training run: its data, its cuts, its settings and its working folder."""

from dataclasses import dataclass
from pathlib import Path

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.training.from_log import from_log
from recsys.training.plan import Plan, make_plan, plan_without_training


@dataclass(frozen=True, slots=True)
class Context:
    """The data and settings that all steps of a run share.

    It stays in the driver: a Ray task gets only the parts that it needs.

    plan: the cuts for `config`
    config: with windows and targets, see `from_log`
    work: folder or s3://bucket/prefix of the quarantine file, of sweeps and of the rows that several workers read
    """

    shop: ShopData
    plan: Plan
    config: TrainConfig
    work: str

    @classmethod
    def create(cls, shop: ShopData, config: TrainConfig, work: str | Path) -> "Context":
        """The context of a run on this data; raises TooLittleData if the log is too short for one training cut.

        config: windows and targets that it leaves open are chosen from the log; features and sources of item attributes
            are those that the shop has
        """
        complete = _completed(shop, config)
        return cls(shop, make_plan(shop.start, shop.end, complete), complete, str(work))

    @classmethod
    def without_training(cls, shop: ShopData, config: TrainConfig, work: str | Path) -> "Context":
        """The context of a run that trains no ranker, for a log of any length; config, work: as in `create`."""
        complete = _completed(shop, config)
        return cls(shop, plan_without_training(shop.end, complete), complete, str(work))

    def with_config(self, config: TrainConfig) -> "Context":
        """The same run with other settings and the cuts for them; raises TooLittleData as `create` does."""
        return Context.create(self.shop, config, self.work)


def _completed(shop: ShopData, config: TrainConfig) -> TrainConfig:
    """The config with everything that follows from the shop's data, see `Context.create`."""
    complete = from_log(shop, config).config
    inference = complete.inference.for_attributes(shop.catalog.attributes)
    return complete.model_copy(update={"inference": inference})
