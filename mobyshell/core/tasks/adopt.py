"""Taking over what a dead shim left: tables out of records, streams out of held descriptors.

Owns the rebuilding. What is alive is adopted as if nothing had happened; what ended meanwhile is
finished with the status somebody remembers; what was half made is cleared away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import TaskAdopted
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks import exits
from mobyshell.core.tasks.paths import MAKING, exec_dir, task_dir
from mobyshell.core.tasks.process import House, Process, held_name
from mobyshell.core.tasks.records import Record, read_record
from mobyshell.core.tasks.streams import OUTPUTS, open_output
from mobyshell.core.tasks.tables import Tables
