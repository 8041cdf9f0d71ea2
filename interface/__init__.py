"""Everything that touches the outside: HTTP, the gateway client, the command line, settings."""
