"""Lets `serve` start its children with the very interpreter that it runs on itself."""

from interface.cli import main

main()
