"""What the demo prints: each step with the command as a person types it, its answer, and the time it took."""

from __future__ import annotations

import shlex
import sys
import textwrap
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

_WIDTH, _LINES = 100, 14


class Unexpected(Exception):
    """A step answered something else than it must."""


@dataclass
class Transcript:
    console: Console = field(default_factory=lambda: _console())
    checks: int = 0

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(f"[bold]{escape(title)}[/]", align="left", style="dim"))

    def say(self, text: str) -> None:
        self.console.print(f"[italic]{escape(text)}[/]")

    def command(self, who: str, words: list[str] | str) -> None:
        """`Ada $ mlgate ...`, long ones over several lines."""
        text = words if isinstance(words, str) else shlex.join(words)
        lines = textwrap.wrap(text, _WIDTH - 12, break_long_words=False, break_on_hyphens=False)
        shown = " \\\n        ".join(lines)
        self.console.print(f"[bold cyan]{who:>5}[/] [dim]$[/] [bold]{escape(shown)}[/]", soft_wrap=True)

    def answer(self, text: str, verdict: str, held: bool, seconds: float) -> None:
        lines = text.rstrip().splitlines()
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], f"... ({len(lines) - _LINES + 1} more lines)"]
        for line in lines:
            self.console.print(f"        [dim]{escape(line)}[/]", soft_wrap=True)
        mark = "[bold green]✓[/]" if held else "[bold red]✗[/]"
        self.console.print(f"      {mark} {escape(verdict)} [dim]· {_duration(seconds)}[/]", soft_wrap=True)

    def expect(self, held: bool, text: str, verdict: str, wanted: str, seconds: float) -> None:
        """Show an answer; the demo ends here when it is not the one that was wanted."""
        self.answer(text, verdict, held, seconds)
        if not held:
            raise Unexpected(f"expected {wanted}")
        self.checks += 1


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _console() -> Console:
    terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if terminal else _WIDTH, emoji=False)
