-- Reads a task: what came of it, and how it stands now.
-- ARGV task
-- Returns what read_task does
return read_task(ARGV[1])
