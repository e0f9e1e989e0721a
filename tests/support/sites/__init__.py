"""Sites as their owners have them: in a folder of their own, under local mode, or moved over."""
