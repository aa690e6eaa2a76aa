"""The layout of a shop's files: which table holds the events, which column is what, and what their values mean."""
