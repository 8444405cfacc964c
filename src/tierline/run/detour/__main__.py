"""`python -I -S detour/`: without the packages of the environment, so that it is there at once."""

import sys
import types
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _name, _folder in (("tierline", _HERE.parent.parent), ("tierline.run", _HERE.parent)):
    # The packages around this one, without running them: `tierline` itself imports half of the stack.
    _package = types.ModuleType(_name)
    _package.__path__ = [str(_folder)]
    sys.modules[_name] = _package
sys.path.pop(0)

from tierline.run.detour.switch import main  # noqa: E402

main()
