"""Applications of sites, with and without a page at `/`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("theirs")


with_page = FastAPI()
_router = APIRouter()
_router.add_api_route("/", page)
with_page.include_router(_router)

catch_all = Starlette(routes=[Route("/{path:path}", page)])
mounted = Starlette(routes=[Mount("/", app=PlainTextResponse("theirs"))])

without_page = Starlette(routes=[Route("/orders", page)])


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("theirs")(scope, receive, send)


class _Raising(BaseRoute):
    def matches(self, scope: Any) -> Any:
        raise LookupError("a text that may be secret")


raising = Starlette(routes=[_Raising()])
