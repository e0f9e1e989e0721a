"""The site's ChatKitServer: found, checked, built, and what its code may raise."""
