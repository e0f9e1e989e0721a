-- The run whose attempt added an item, empty where none did: its next attempt takes back exactly that.
-- NULL: added by the version before, which did not note it.
-- depends: 0003_request_and_age_indexes

ALTER TABLE items ADD COLUMN run_id text;
