"""The token of a lease: the process that claimed, a colon, and what tells its claims apart."""


def process_of(token: str) -> str:
    """The process that claims with the token: what stands before the last colon; empty where there is none."""
    return token.rpartition(":")[0]
