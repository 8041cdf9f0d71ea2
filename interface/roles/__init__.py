"""The roles that a process can take: web, worker, simulator."""
