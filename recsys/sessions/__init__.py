"""Recommendations to a session: the next item from what a visitor did in this visit, with or without a known history.

The interface for the other layers is `recsys.sessions.model`: a `SessionModel` proposes candidates to a batch of
sessions, ranks them and calibrates the scores. A version has one where sessions pay, else `Bundle.sessions` is None.

The modules in the order in which things happen:

- `settings`: the settings, and the names of the sources
- `log`: the sessions of a log, cut at pauses, and their steps
- `neighbours`, `pairs`, `vectors`: the sources, each with its fit and its kernel; `proposals`: what they return
- `tables`: the tables of all sources, fitted on sessions before a cut, with their specs
- `candidates`: the proposals of all sources, cut to size
- `features`: the rows of the ranker
- `model`: all of it behind three calls
- `prefixes`, `learning`: labelled beginnings of sessions, and what is trained on them
- `entry`: the entry of a manifest that declares a session model
"""
