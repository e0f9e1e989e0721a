-- What its user has said of an item, as `items.feedback` brought it: 'positive' or 'negative'. The release before hands
-- feedback to the site's code alone, so that a page of it shows none after a reload.
-- depends: 0021_threads_by_use

ALTER TABLE items ADD COLUMN feedback text;
