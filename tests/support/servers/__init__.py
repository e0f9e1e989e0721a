"""ChatKit servers as a site has them, each for one thing that a site's server may do."""
