-- The feedback on an item that an attempt writes over or removes, so that it comes back with the item. The release before
-- puts the item back without it.
-- depends: 0022_feedback

ALTER TABLE undo_items ADD COLUMN feedback text;
