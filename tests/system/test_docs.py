"""The pages that are made from the .def rows are those of this tree."""
import os
import subprocess

import pytest
from conftest import BIN, TOP


def test_generated_pages_are_up_to_date():
    if not os.path.exists(os.path.join(BIN, "postern-store")):
        pytest.skip("not built: postern-store")
    p = subprocess.run([os.path.join(TOP, "docs", "generate"), "--check"], env={**os.environ, "POSTERN_BIN": BIN},
                       capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 0, p.stdout + p.stderr
