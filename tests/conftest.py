"Fixtures that several test files share."
import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared():
    "The folder of reference data named by SCGAN_NB_SHARED; tests that need it skip where it is absent."
    folder = Path(os.environ.get("SCGAN_NB_SHARED", "../shared")).resolve()
    if not folder.is_dir(): pytest.skip(f"no reference data: SCGAN_NB_SHARED names no folder ({folder})")
    return folder
