"""The context of a training run: its data, its cuts, its settings and its working folder."""

from dataclasses import dataclass
from pathlib import Path

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.training.plan import Plan, make_plan


@dataclass(frozen=True, slots=True)
class Context:
    """The data and settings that all steps of a run share.

    It stays in the driver: a Ray task gets only the parts that it needs.

    plan: the cuts for `config`
    work: folder or s3://bucket/prefix of the quarantine file, of sweeps and of the rows that several workers read
    """

    shop: ShopData
    plan: Plan
    config: TrainConfig
    work: str

    @classmethod
    def create(cls, shop: ShopData, config: TrainConfig, work: str | Path) -> "Context":
        """The context of a run on this data; raises ModelError if the log is too short for one training cut."""
        return cls(shop, make_plan(shop.start, shop.end, config), config, str(work))

    def with_config(self, config: TrainConfig) -> "Context":
        """The same run with other settings and the cuts for them; raises ModelError as `create` does."""
        return Context.create(self.shop, config, self.work)
