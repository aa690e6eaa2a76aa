"""The service: `serve run serve_app:app registry=URI …` or `python serve_app.py --registry URI`; see the README."""

import sys

from recsys.serving.app import build_app as app
from recsys.serving.run import main

__all__ = ["app"]

if __name__ == "__main__":
    sys.exit(main())
