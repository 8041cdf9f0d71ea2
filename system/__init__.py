"""How the applications work together: followers, persistence, the runner and the agenda."""
