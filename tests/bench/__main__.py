import importlib
import pkgutil

from tests import bench

for module in pkgutil.iter_modules(bench.__path__):
    if module.name.startswith("_"): continue
    print(f"\n== {module.name}")
    importlib.import_module(f"tests.bench.{module.name}").main()
