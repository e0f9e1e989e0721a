"""The console's page: static files of api/ops/page, which tell nothing. What they show comes from /ops/api."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

PAGE_DIRECTORY = Path(__file__).parents[1] / "ops" / "page"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Revalidated by its ETag at each load, so that the page and its script are always of one version.
    "Cache-Control": "no-cache",
}


def ops_page_router(
    *, is_local: bool, dependencies: Sequence[Any] = (), directory: Path = PAGE_DIRECTORY
) -> APIRouter:
    """`GET /ops` is the page, `GET /ops/NAME` a file of `directory`; anything else is 404.

    `is_local` tells the page that local mode's issuer signs its operator in. To be included after the routes of the
    API. Raises RuntimeError where `directory` does not exist.
    """
    files = StaticFiles(directory=directory)
    router = APIRouter(prefix="/ops", include_in_schema=False, dependencies=list(dependencies))

    async def serve(path: str, request: Request) -> Response:
        response = await files.get_response(path, request.scope)
        response.headers.update(HEADERS)
        return response

    @router.api_route("", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return await serve("index.html", request)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def with_slash() -> Response:
        """To where the page's relative links lead, also below a path of a proxy's."""
        return RedirectResponse("../ops", status_code=308)

    @router.get("/options.json")
    async def options() -> Response:
        """How an operator signs in."""
        return JSONResponse({"local": is_local}, headers=HEADERS)

    @router.api_route("/{name}", methods=["GET", "HEAD"])
    async def file(name: str, request: Request) -> Response:
        return await serve(name, request)

    return router
