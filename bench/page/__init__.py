"""A page with `<relaykit-chat>`, the server that streams an answer into it, and the browser that shows it."""
