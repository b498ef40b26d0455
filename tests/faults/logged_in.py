"""python logged_in.py CGROUP PYTHON [-P] -m MODULE ARGUMENTS: the module, as if /proc/self/cgroup were that file."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tuiftune.run import logout

logout.CGROUP = Path(sys.argv[1])
sys.argv = sys.argv[sys.argv.index("-m") + 1 :]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
