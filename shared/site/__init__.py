"""The site's ChatKitServer: found, checked, built; what its store can do; what its code may raise."""
