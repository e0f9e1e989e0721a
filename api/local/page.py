"""The demo page of local mode: static files of deploy/local/demo, under a policy that loads nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, Request, Response
from fastapi.staticfiles import StaticFiles

from relaykit.api.local.issuer import require_local

DEMO_DIRECTORY = Path(__file__).parents[2] / "local" / "demo"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob: https:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Revalidated by its ETag at each load, so that a page and its modules are always of one version.
    "Cache-Control": "no-cache",
}


def page_router(directory: Path = DEMO_DIRECTORY, *, at_root: bool = True) -> APIRouter:
    """`GET /demo` is the page and `GET /demo/...` its files; anything outside `directory` is 404.

    With `at_root` the page is at `/` as well: where the site's application has one of its own, that is there instead.

    Raises RuntimeError where `directory` does not exist. For local mode only: the page signs in through /dev/token, and
    like it answers this machine alone, so that a published page says why instead of failing at the sign-in.
    """
    files = StaticFiles(directory=directory)
    router = APIRouter(include_in_schema=False, dependencies=[Depends(require_local)])

    async def serve(path: str, request: Request) -> Response:
        response = await files.get_response(path, request.scope)
        response.headers.update(HEADERS)
        return response

    async def page(request: Request) -> Response:
        return await serve("index.html", request)

    for path in ("/", "/demo") if at_root else ("/demo",):
        router.add_api_route(path, page, methods=["GET", "HEAD"])

    @router.get("/demo/options.json")
    async def options(request: Request) -> Response:
        """What the server's `relaykit_page_options` say, read once when the API started."""
        return Response(request.app.state.page_options, media_type="application/json", headers=HEADERS)

    @router.api_route("/demo/{path:path}", methods=["GET", "HEAD"])
    async def asset(path: str, request: Request) -> Response:
        return await serve(path, request)

    return router
