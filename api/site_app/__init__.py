"""The site's own ASGI application: it answers what is not ours, on the thread and loop of the site's code.

`loaded_app.py` finds it, `app_lifespan.py` runs its lifespan, `site_app.py` carries a request to it and its answer back
(`exchange.py`). Its middleware wraps its own routes alone.
"""
