"""`python serve_app.py`: the same as `recsys serve`; `serve run serve_app:app registry=URI` takes `app` from here."""

import sys

from recsys.cli import main
from recsys.serving.app import build_app as app

__all__ = ["app"]

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
