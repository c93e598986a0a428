"""TensorFlow's own gs:// in a confined job: hosts and libcurl are compiled in, the environment must be enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlgate.adapters.environments.builder import Builder
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.adapters.hosts.sandbox import NONE, JobLimits, probe
from tests.harness import Server
from tests.jobs.confined import ConfinedJob

GFILE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
files, place = tf.io.gfile, sys.argv[1]
assert not files.exists(place + "/nothing")
with files.GFile(place + "/text", "w") as file:
    file.write("hello")
with files.GFile(place + "/text", "a") as file:
    file.write(", you")
assert files.GFile(place + "/text").read() == "hello, you"
large = os.urandom(9 << 20)
with files.GFile(place + "/large", "wb") as file:
    file.write(large)
assert files.GFile(place + "/large", "rb").read() == large
assert files.stat(place + "/large").length == len(large)
files.makedirs(place + "/folder/inner")
assert files.isdir(place + "/folder/inner")
assert sorted(files.listdir(place)) == ["folder/", "large", "text"], files.listdir(place)
files.copy(place + "/text", place + "/folder/copy")
files.rename(place + "/folder/copy", place + "/folder/renamed")
assert files.glob(place + "/folder/ren*") == [place + "/folder/renamed"]
files.remove(place + "/large")
files.rmtree(place + "/folder")
assert not files.exists(place + "/folder/renamed")
module = tf.Module()
module.value = tf.Variable(7.0)
tf.saved_model.save(module, place + "/model")
assert tf.saved_model.load(place + "/model").value.numpy() == 7.0
records = tf.io.TFRecordWriter(place + "/records")
records.write(b"one")
records.close()
assert [record.numpy() for record in tf.data.TFRecordDataset(place + "/records")] == [b"one"]
print("all of it")
"""


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock", "loopback"])
@pytest.mark.parametrize("runtime", ["3.0", "2.12"])
def test_gfile_reads_and_writes_buckets_of_this_server(server: Server, runtime: str, mode: str, tmp_path: Path) -> None:
    builder = Builder(Path(os.environ["MLGATE_TENSORFLOW"]).resolve())
    python = UvEnvironments(builder, own=False).python(runtime, "3.11", "TENSORFLOW").python
    name = f"tensorflow-{runtime.replace('.', '-')}-{mode}"
    made = server.http().post("/storage/v1/b", params={"project": server.project}, json={"name": name})
    assert made.status_code == 200, made.text
    sandbox = probe(mode, for_jobs=True)
    assert sandbox.mode != NONE, sandbox.reason
    limits = JobLimits(memory_bytes=32 << 30)  # TensorFlow reserves much more than it uses
    with ConfinedJob(sandbox, tmp_path / "job", server.url, server.token(), python=python, limits=limits) as job:
        assert job.run(GFILE, f"gs://{name}/job") == "all of it\n"
