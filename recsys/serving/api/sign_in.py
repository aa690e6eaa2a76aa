"""The pages of 401 for people: a browser cannot send a key when it opens an address, so a script asks with the key."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Final

from fastapi.responses import Response

from recsys.serving.api.documentation import FILES, read_file
from recsys.serving.api.documentation import page_policy as docs_policy
from recsys.serving.api.html import hash_of, html_response, script_hashes
from recsys.serving.api.page import has_images
from recsys.serving.api.page import page_policy as main_policy
from recsys.serving.service import Service

PAGE: Final = pathlib.Path(__file__).with_name("sign_in.html")


def sign_in_pages(service: Service) -> Mapping[str, Callable[[], Response]]:
    """Makers of the responses, by the path of the page that a person wants.

    Each has the policy of the page that its script puts in its place.
    """
    text = PAGE.read_text(encoding="utf-8")
    content, own = text.encode(), script_hashes(text)
    policies = {image: main_policy(image, own) for image in (False, True)}
    files = [hash_of(read_file(name).decode()) for name, kind in FILES.items() if kind == "text/javascript"]
    docs = docs_policy([*own, *files])  # the script puts the text of a file into the page

    def response(policy: str) -> Response:
        answer = html_response(content, policy)
        answer.status_code = 401
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    return {"/": lambda: response(policies[has_images(service)]), "/docs": lambda: response(docs)}
