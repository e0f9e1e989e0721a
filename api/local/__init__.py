"""What only local mode mounts: an issuer for the user of this machine, and the demo page."""
