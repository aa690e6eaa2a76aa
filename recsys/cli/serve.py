"""`recsys serve`, which serve_app.py runs too."""

import socket

import click

from recsys.cli.options import registry_option
from recsys.errors import ConfigError


@click.command()
@registry_option
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="The address to listen on; 0.0.0.0 listens on all."
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", default=8000, help="The port to listen on.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    show_default="none",
    help="One setting of the service, such as topology=fused; may be repeated.",
)
def serve(registry: str | None, host: str, port: int, settings: tuple[str, ...]) -> None:
    """Serve recommendations over HTTP."""
    check_host(host)
    from recsys.config import parse_config, with_settings
    from recsys.registry.locate import absolute, default_registry, open_store
    from recsys.serving.run import in_fast_environment, serve_until_interrupted, start
    from recsys.serving.settings import ServeSettings

    in_fast_environment()
    uri = absolute(registry or default_registry())
    config = parse_config(ServeSettings, with_settings({"registry": uri}, settings))
    store = open_store(config.registry)
    if config.version or store.pointer() is None:
        store.path(config.version)  # raises RegistryError that names the missing version or registry
    start(config, host, port)
    serve_until_interrupted()


def check_host(host: str) -> None:
    """Raise ConfigError for an address that is not one of this machine's."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"--host {host}: nothing can listen there: {reason}") from error
