"""cfn-lint, in process: AWS's own schemas and rules, offline. It takes two seconds to import, so late."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.deploy.stacks import Stack
from tierline.errors import PlanError


def lint(stacks: Sequence[Stack]) -> list[str]:
    """Errors and warnings, as `stack/path: rule: message`. Raises PlanError when cfn-lint isn't installed."""
    try:
        from cfnlint.api import lint as cfn_lint
        from cfnlint.config import ManualArgs
    except ImportError:
        raise PlanError("cfn-lint isn't installed: pip install 'tierline[aws]'") from None
    found = []
    for stack in stacks:
        for match in cfn_lint(stack.text(), config=ManualArgs(regions=[stack.region])):
            path = "/".join(str(part) for part in getattr(match, "path", None) or ())
            found.append(f"{stack.name}/{path}: {match.rule.id}: {match.message}")
    return found
