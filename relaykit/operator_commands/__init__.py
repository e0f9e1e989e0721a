"""The commands of an operator: `relaykit status`, `runs`, `queue`, `workers`, `threads` and `users`.

`arguments` registers each command with its subcommands, in one place; it imports nothing of the product, because help
comes at once. What a command asks and does is in `relaykit.shared.operating`; here it is printed.
"""
