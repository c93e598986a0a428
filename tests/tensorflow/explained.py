"""Answers explanation requests from standard input, a JSON list of [directory, config, body] each, with the runtimes
package as a model process has it. Run by the Python that has TensorFlow."""

import importlib.util
import json
import os
import sys

folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "mlgate_runtimes", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
)
sys.modules["mlgate_runtimes"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
frameworks = importlib.import_module("mlgate_runtimes.frameworks")
explaining = importlib.import_module("mlgate_runtimes.explaining")

answers = []
loaded = {}
for directory, config, body in json.load(sys.stdin):
    options = {"explanation": config}
    if directory not in loaded:
        loaded[directory] = frameworks.load_model("TENSORFLOW", directory, options)[1]
    status, answer = explaining.answer(loaded[directory], options, json.dumps(body).encode())
    answers.append([status, json.loads(answer)])
json.dump(answers, sys.stdout)
