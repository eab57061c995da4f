"Fixtures that several test files share, and how much hypothesis tries."
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
# `--hypothesis-profile=thorough` tries five hundred times as many, and others each time
COMMON = dict(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture,
                                                    HealthCheck.filter_too_much, HealthCheck.data_too_large])
settings.register_profile("default", derandomize=True, max_examples=100, **COMMON)
settings.register_profile("thorough", max_examples=50_000, **COMMON)
settings.load_profile("default")


@pytest.fixture(scope="session")
def shared():
    "The folder of reference data named by SCGAN_NB_SHARED; tests that need it skip where it is absent."
    folder = Path(os.environ.get("SCGAN_NB_SHARED", "../shared")).resolve()
    if not folder.is_dir(): pytest.skip(f"no reference data: SCGAN_NB_SHARED names no folder ({folder})")
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "A folder where the package of `tests/sixth` is installed, as pip does it."
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(Path(__file__).parent/"sixth", folder/"source")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target",
                    folder/"site", folder/"source"], check=True)
    return folder/"site"
