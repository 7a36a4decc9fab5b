-- Reads what is known of the named nodes, or of all that were seen in the last day.
-- ARGV nodes, none for all
-- Returns {now, {node row, …}}
return { now, node_rows(ARGV) }
