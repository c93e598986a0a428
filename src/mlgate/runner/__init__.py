"""Jobs: claimed by a runner, carried from QUEUED to their end. User code runs behind the port JobRunner."""
