"""`python serve_app.py`: the same as `recsys serve`; `serve run serve_app:app registry=URI` takes `app` from here."""

import sys

if __name__ == "__main__":
    from recsys.cli import main

    sys.exit(main(["serve", *sys.argv[1:]]))
else:  # not above: Serve reads the environment when it is imported, and `recsys serve` sets it first
    from recsys.serving.app import build_app as app

__all__ = ["app"]
