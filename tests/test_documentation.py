"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest

import tierline
from tierline.intent import Intent, _annotated, _called

DOCS = Path(__file__).parents[1] / "docs"
INTENTS = [
    name
    for name in tierline.__all__
    if isinstance(getattr(tierline, name), type) and issubclass(getattr(tierline, name), Intent)
]


def settings() -> str:
    """The fields of every intent as Markdown tables."""
    lines = []
    for name in sorted(INTENTS, key=lambda name: (name != "Stack", name)):
        intent = getattr(tierline, name)
        lines += [
            f"\n## {name}\n",
            (intent.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", "\n"),
            "",
        ]
        fields = _annotated(intent)
        if fields:
            lines += ["| field | value | default | |", "|---|---|---|---|"]
        for field, declared in fields.items():
            value = _called(declared.annotation).replace("|", "or")
            default = "" if "object" in repr(declared.default) else f"`{declared.default!r}`"
            lines.append(f"| `{field}` | {value} | {default} | {declared.text} |")
    return "\n".join(lines) + "\n"


def test_every_setting_is_in_the_documentation(request: pytest.FixtureRequest) -> None:
    path = DOCS / "stack.md"
    text = path.read_text()
    expected = re.sub(
        r"(<!-- settings -->\n).*(<!-- /settings -->)",
        lambda m: m[1] + settings() + m[2],
        text,
        flags=re.DOTALL,
    )
    if request.config.getoption("--regenerate"):
        path.write_text(expected)
    assert path.read_text() == expected, "pytest --regenerate tests/test_documentation.py"


def test_links_between_pages_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_of_the_readme_exists() -> None:
    from tierline.cli.main import Commands

    known = Commands().list_commands(None)  # type: ignore[arg-type]
    for command in re.findall(r"`tierline ([a-z]+)", (DOCS.parent / "README.md").read_text()):
        assert command in known
