"""``make docs``: writes docs/commands.md from the commands themselves, then every page as HTML into site/."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from synthorax.cli import RESEARCH_ONLY, app, get_command

DOCS = Path(__file__).parent
SITE = DOCS.parent / "site"
STYLE = """
body { max-width: 50em; margin: 2em auto; padding: 0 1em; font: 16px/1.6 system-ui; color: #1d2730 }
code, pre { background: #f3f6f7 } pre { overflow-x: auto; padding: .8em } img { max-width: 100% }
td, th { border-bottom: 1px solid #dbe2e6; padding: .3em .8em; text-align: left }
"""


def commands_page() -> str:
    """Every command with its help, arguments and options, in the order of ``synthorax --help``."""
    lines = ["# Commands", "", f"Written by `make docs` from the commands' own help. {RESEARCH_ONLY}", ""]
    lines += ["Every command takes `--help`, and `--debug` to show the traceback of an error. ", ""]
    lines += [
        "Exit codes: 0 done, 1 done with rejected rows under `--strict`, 2 refused (one line says why).",
        "",
    ]

    def walk(words, command):
        for name, child in getattr(command, "commands", {}).items():
            walk([*words, name], child)
        if len(words) > 1 and not getattr(command, "commands", None):
            lines.extend(command_section(words, command))

    walk(["synthorax"], get_command(app))
    return "\n".join(line.rstrip() for line in lines)


def command_section(words: list[str], command) -> list[str]:
    """One command: heading, help text, a table of what it takes."""
    lines = [
        f"## {' '.join(words)}",
        "",
        *(command.help or "").splitlines(),
        "",
        "| takes | meaning | default |",
        "| --- | --- | --- |",
    ]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_option = parameter.param_type_name == "option"
        name = ", ".join(parameter.opts) if is_option else (parameter.metavar or parameter.name.upper())
        default = "required" if parameter.required else parameter.default
        shown = "" if default is None or default is False or callable(default) else f"`{default}`"
        meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {meaning} | {shown} |")
    return [*lines, ""]


def main() -> None:
    """Write docs/commands.md and site/*.html."""
    (DOCS / "commands.md").write_text(commands_page(), encoding="utf-8")
    SITE.mkdir(exist_ok=True)
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    pages = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
    links = " · ".join(f'<a href="{page.stem}.html">{page.stem}</a>' for page in pages)
    for page in pages:
        body = markdown.render(page.read_text(encoding="utf-8"))
        body = re.sub(r'href="(?:docs/)?(\w+)\.md', r'href="\1.html', body).replace(
            'src="docs/', 'src="../docs/'
        )
        head = f'<!doctype html><meta charset="utf-8"><title>{page.stem}</title><style>{STYLE}</style>'
        (SITE / f"{page.stem}.html").write_text(f"{head}<p>{links}</p>{body}", encoding="utf-8")
    print(f"{len(pages)} pages in {SITE}")


if __name__ == "__main__":
    main()
