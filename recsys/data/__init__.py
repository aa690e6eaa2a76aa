"""Files of any shop to checked and encoded data.

Read the modules in this order: `sources` and `listing` (the files as tables), `reading` and `readers` (rows as text),
`validate` (checks), `quarantine` (unusable rows), `items` and `catalog` (properties and categories), `partition`
(events by user), and `ingest`, which runs all of it. `shop` has the types of the result. `synthetic` generates a shop.
"""
