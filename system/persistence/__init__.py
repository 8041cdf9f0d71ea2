"""Where events, positions, views and the agenda are kept: PostgreSQL, or memory in tests."""
