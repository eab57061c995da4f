"Benchmarks: `make bench`, or one of them with `python -m tests.bench.<name>`. Ratios within one run; nothing is asserted."
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99") # else the profiler reports each start and stop between our lines
