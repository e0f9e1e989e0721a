"""The description of the API, served at `GET /openapi.json`."""
