"""Lets the tests of this folder import the helpers beside them: `builders`, `state_harness` and `simulation`."""

import sys
from pathlib import Path

# Tests are imported by path (importlib mode), which leaves their folder off the search path.
sys.path.insert(0, str(Path(__file__).parent))
