import sys

from tests.parity.runner import main

if len(sys.argv) != 2: sys.exit("usage: python -m tests.parity DIR")
sys.exit(main(sys.argv[1]))
