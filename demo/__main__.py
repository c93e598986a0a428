"""`python -m demo [--keep]`: exit code 0 only when every step went as it must."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from demo.place import OWNER, PROJECT, Place
from demo.story import Unexpected, tell
from demo.transcript import Transcript


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description="The main job of mlgate, end to end.")
    parser.add_argument("--keep", action="store_true", help="leave the server up and say how to sign in")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    transcript, place, started, held = Transcript(), Place(), time.monotonic(), False
    try:
        tell(place, transcript)
        held = True
    except KeyboardInterrupt:
        return 130
    except (Unexpected, RuntimeError) as error:
        transcript.console.print(f"\n[bold red]The demo failed:[/] {error}", markup=True)
        transcript.console.print(f"The end of the server's log:\n{place.log_end()}", markup=False, style="dim")
    finally:
        if not (held and keep):
            place.remove()
    if not held:
        return 1
    transcript.console.print(
        f"\n[bold green]All {transcript.checks} steps went as they must[/], in {time.monotonic() - started:.0f} s."
    )
    if keep:
        _say_how_to_go_on(place, transcript)
    return 0


def _say_how_to_go_on(place: Place, transcript: Transcript) -> None:
    lines = (
        f"The server is up at {place.url} (process {place.pid}). To go on as Ada:",
        "",
        f"  export PATH={Path(sys.executable).parent}:$PATH MLGATE_SERVER={place.url} MLGATE_PROJECT={PROJECT}",
        f"  export MLGATE_TOKEN=$(mlgate admin token --data-dir {place.data} {OWNER})",
        "  mlgate models list",
        "",
        f"To end it: kill {place.pid} && rm -r {place.root}",
    )
    transcript.console.print("\n" + "\n".join(lines), markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
