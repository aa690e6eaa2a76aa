"""`python train_job.py`, also as a Ray job: the same as `recsys train`."""

import sys

from recsys.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
