"""`recsys serve`, which serve_app.py runs too."""

import sys
from pathlib import Path

import click

from recsys.cli.options import registry_option


@click.command()
@registry_option
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="The address to listen on; 0.0.0.0 listens on all."
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", default=8000, help="The port to listen on.")
@click.option(
    "--rules",
    metavar="FILE.yaml",
    show_default="none",
    help="A rules file, on disk or s3://bucket/key. It may change while the service runs.",
)
@click.option(
    "--keys",
    metavar="FILE.yaml",
    show_default="none",
    help="A file of API keys, on disk or s3://bucket/key. It may change while the service runs.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    show_default="none",
    help="One setting of the service, such as topology=fused; may be repeated.",
)
def serve(
    registry: str | None, host: str, port: int, rules: str | None, keys: str | None, settings: tuple[str, ...]
) -> None:
    """Serve recommendations over HTTP."""
    from recsys.serving.host.ports import check_address
    from recsys.serving.host.supervisor import begin_child, supervise

    folder = begin_child()
    if folder is None:
        check_address(host, port)
        sys.exit(supervise(port))

    # From here on in the process that serves: Ray Serve reads the environment when it is imported.
    from recsys.config import parse_config, with_settings
    from recsys.registry.locate import absolute, default_registry, open_store
    from recsys.serving.access.access import Access
    from recsys.serving.access.environment import ENVIRONMENT
    from recsys.serving.rules import check_rules_file
    from recsys.serving.run import serve_until_interrupted
    from recsys.serving.settings import ServeSettings
    from recsys.storage.address import is_s3

    uri = absolute(registry or default_registry())
    given = {name: value for name, value in (("rules", rules), ("keys", keys)) if value is not None}
    config = parse_config(ServeSettings, with_settings({"registry": uri, **given}, settings))
    if config.rules is not None and not is_s3(config.rules):
        config = config.model_copy(update={"rules": str(Path(config.rules).absolute())})
    if config.keys is not None and config.keys != ENVIRONMENT and not is_s3(config.keys):
        config = config.model_copy(update={"keys": str(Path(config.keys).absolute())})
    store = open_store(config.registry)
    if config.version or store.pointer() is None:
        store.path(config.version)  # raises RegistryError that names the missing version or registry
    if config.rules is not None:
        check_rules_file(config.rules)
    Access.build(config)  # raises ConfigError or DataError where the keys cannot be read
    serve_until_interrupted(config, host, port, folder)
