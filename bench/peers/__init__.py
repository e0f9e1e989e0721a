"""What others have made, run beside ours: in an environment of its own, .venv-peers."""
