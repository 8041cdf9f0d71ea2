# The simulation: `make simulate` runs 10,000 seeds of the whole system among faults.

RUNS ?= 10000

.PHONY: simulate

simulate:
	.venv/bin/python -m tests.simulation --runs $(RUNS)
