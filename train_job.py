"""Train, evaluate and publish a recommender: `python train_job.py`, or as a Ray job."""

import sys

from recsys.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
