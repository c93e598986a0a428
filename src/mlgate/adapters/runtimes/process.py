"""The script that a model process runs: `python -I process.py <start as JSON>`; with a second word it is another
program: `batch` predicts files, `task` starts a job's own code.

It runs under the interpreter of the version's environment, where mlgate is not installed and which may be as old as
Python 3.8, so this folder is loaded as a package of its own, under a name that no model code imports. Nothing is put
on `sys.path`: a file here can therefore never hide a module that a model wants.
"""

import importlib
import importlib.util
import os
import sys

PACKAGE = "mlgate_runtimes"


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # what a model prints is read as it comes
    folder = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    module = sys.argv[2] if len(sys.argv) > 2 else "serve"
    importlib.import_module(PACKAGE + "." + module).main(sys.argv[1])


if __name__ == "__main__":
    main()
