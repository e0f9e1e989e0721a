"""The description of the API, served at `GET /openapi.json`.

`responses` has the words that all descriptions share: errors by their status, headers, streams. `chatkit`, `runs`,
`attachments` and `ops` describe the endpoints of the routes of the same name, which pass them to their decorators. A
new route gets its description here. Imports `relaykit.api.http` for the table of errors, and no room above it.
"""
