"""`recsys keys`: API keys of the service."""

import click

from recsys.errors import ConfigError


@click.group()
def keys() -> None:
    """Make and check API keys of the service."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "admin"]),
    multiple=True,
    default=["read"],
    help="What the key allows; may be repeated.",
)
@click.option("--limit", metavar="LIMIT", show_default="none", help="Requests allowed in a time, such as 100/second.")
@click.option("--expires", metavar="YYYY-MM-DD", show_default="never", help="The last day of the key, UTC.")
def new(name: str, scopes: tuple[str, ...], limit: str | None, expires: str | None) -> None:
    """Make a key for NAME: the entry for the file of keys on stdout, and the key itself once, on stderr.

    The entry has the key's hash alone.
    """
    import json

    from recsys import console
    from recsys.serving.access.document import digest_of, new_key, parse_keys

    key = new_key()
    optional = {"limit": limit, "expires": expires}
    entry = {"name": name, "sha256": digest_of(key.encode()).hex(), "scopes": list(dict.fromkeys(scopes))}
    entry |= {field: value for field, value in optional.items() if value is not None}
    [made] = parse_keys(json.dumps({"keys": [entry]}).encode(), "the entry")  # raises ConfigError naming what is wrong
    if not made.is_valid():
        raise ConfigError(f"--expires {expires}: this day is over")
    console.progress(f"the key, shown this once: {key}")
    console.line(f"- {json.dumps(entry)}")  # JSON is YAML too


@keys.command()
@click.argument("file", metavar="FILE")
def check(file: str) -> None:
    """Check a file of keys, on disk or s3://bucket/key. Exit code 2 if nobody could use the service with it."""
    from recsys import console
    from recsys.serving.access.keys import FollowedKeys

    keys = FollowedKeys(file)
    expired = keys.expired()
    console.line(f"valid keys: {keys.report().n_valid}" + (f"; expired: {', '.join(expired)}" if expired else ""))
    if not keys.report().n_valid:
        raise ConfigError(f"{file}: no key is valid any more")
