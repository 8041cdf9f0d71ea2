"""Finds a text inside other texts with an index, without an extension of PostgreSQL.

A text is known by its trigrams, the runs of three characters in it: whatever contains a text
contains all of that text's trigrams, and a GIN index finds the few rows that do. A text of one or
two characters has none: all rows are looked through for it, newest first.
"""

CREATE_TRIGRAMS = """
CREATE OR REPLACE FUNCTION text_trigrams(content text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT substr(lower(content), place, 3)), '{}')
    FROM generate_series(1, length(content) - 2) place
$$
"""

SEARCHED = (
    "description || chr(10) || coalesce(client_info->>'name', '')"
    " || chr(10) || coalesce(client_info->>'email', '')"
)
"""What the list of payments is searched for, in one text."""

RAREST_TRIGRAMS = """
SELECT coalesce(array_agg(trigram), '{}') AS trigrams FROM (
    SELECT trigram FROM unnest(text_trigrams(%(text)s)) trigram
    LEFT JOIN (
        SELECT unnest(most_common_elems::text::text[]) AS common,
               unnest(most_common_elem_freqs) AS frequency
        FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'view_payments_6_idx'
    ) known ON common = trigram
    ORDER BY coalesce(frequency, 0) LIMIT 4
) rarest
"""
"""Those of a text's trigrams that the fewest payments have, as far as the planner knows: to look
for more of them finds the same rows more slowly."""
