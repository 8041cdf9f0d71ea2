"""Everything on one machine from one command: the database, the simulator, worker and web."""
