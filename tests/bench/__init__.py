"Benchmarks: `make bench`, or one of them with `python -m tests.bench.<name>`. Ratios within one run; nothing is asserted."
