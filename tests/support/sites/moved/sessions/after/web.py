"""A site whose members sign in with a form; Starlette keeps the session in a signed cookie."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"])


@app.post("/login")
async def login(request: Request, user: Annotated[str, Form()]) -> None:
    request.session["user"] = user


@app.post("/logout")
async def logout(request: Request) -> None:
    request.session.clear()


@app.get("/me")
async def me(request: Request) -> dict[str, Any]:
    return {"user": request.session.get("user")}
