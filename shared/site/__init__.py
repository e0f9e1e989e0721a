"""The site's ChatKitServer: found, checked, built; what its store can do; what its code may raise.

The way: `attributes` finds what a setting names, `checks` refuses what cannot work, `loaded_server` builds the server
for a `site_process`, `lifetime` enters the site's lifespan, and `user_server` is what the rest calls. `store_extras` is
what a store can do beyond the SDK's, `refusals` turns what the site's code raises into our errors. Imports neither
runs nor the journal.
"""
