"""A shop in a bucket: its log grows, and parts of it can be missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import polars as pl

from recsys import schema
from recsys.data.synthetic import generate
from recsys.schema import DAY

BUCKET: Final = "shop"
REGISTRY: Final = f"s3://{BUCKET}/models"


@dataclass
class Shop:
    """The files of a shop, and the bucket that it puts them into."""

    folder: Path
    client: Any
    events: pl.DataFrame

    @classmethod
    def open(cls, folder: Path, scale: float) -> "Shop":
        """A synthetic shop of this scale, and an empty bucket."""
        generate(folder, scale)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        events = pl.read_csv(folder / "events.csv", schema_overrides={schema.TRANSACTION: pl.Int64})
        return cls(folder, client, events.sort(schema.TIME, maintain_order=True))

    def upload(self, name: str, days_left_out: int = 0, thinned_days: int = 0) -> str:
        """Put the shop into the bucket as it was some days before its end; its address.

        thinned_days: in so many of the last days three of four events are missing, as after a broken export
        """
        end = int(self.events[schema.TIME].max()) - days_left_out * DAY  # type: ignore[arg-type]
        time = pl.col(schema.TIME)
        events = self.events.filter(time <= end)
        if thinned_days:
            kept = (time <= end - thinned_days * DAY) | (pl.int_range(pl.len()) % 4 == 0)
            events = events.filter(kept)
        self._put(f"{name}/events.csv", events.write_csv().encode())
        for path in self.folder.glob("*.csv"):
            if path.name != "events.csv":
                self._put(f"{name}/{path.name}", path.read_bytes())
        return f"s3://{BUCKET}/{name}"

    def _put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
