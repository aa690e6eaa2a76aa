"""Routes that refuse a name they do not have, and routes with an id in their path."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from recsys.serving.api.bodies import with_json
from recsys.serving.api.parameters import check_names


class StrictRoute(APIRoute):
    """A route that refuses a parameter which it does not have, one that is given twice, and a body that is no JSON."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """See APIRoute. Requests without parameters pass at once."""
        handle = super().get_route_handler()
        extra = [one["name"] for one in (self.openapi_extra or {}).get("parameters", ()) if one["in"] == "query"]
        names = (*(field.alias for field in self.dependant.query_params), *extra)
        has_body = self.body_field is not None

        async def handle_known(request: Request) -> Response:
            if request.scope["query_string"]:
                check_names(request.query_params, names)
            return await handle(await with_json(request) if has_body else request)

        return handle_known


def add_user_route(
    api: FastAPI,
    path: str,
    respond: Callable[..., Any],
    responses: dict[int | str, Any],
    extra: dict[str, Any] | None = None,
) -> None:
    """Add a route with an id in its path, and the same route with the id as a parameter.

    path: with `/{user_id:path}` or `/{item_id:path}` in it; respond: a function with a parameter of this name
    extra: an addition to the OpenAPI document, with parameters that `respond` reads from the request itself
    """
    api.get(path, responses=responses, response_model=None, openapi_extra=extra)(respond)
    api.get(
        re.sub(r"/\{\w+:path\}", "", path),
        description=f"{respond.__doc__} The id may also be `.` or `..` here: clients take these out of a path.",
        responses=responses,
        response_model=None,
        openapi_extra=extra,
    )(respond)
