"""ChatKit's requests that are answered at once, without a run: lists, updates, deletions, feedback, actions on widgets.

`answer` checks what the SDK does not, has the server answer on its own loop, and turns what it raises into our errors;
`thread_list` answers the one list whose order is ours.
It may use admission's rows and queue, `site` and shared; nothing of the relay or the routes.
"""
