"""These tests need an environment with TensorFlow, half a gigabyte: `make test-tensorflow` builds it and runs them."""

import os

collect_ignore_glob = [] if os.environ.get("MLGATE_TENSORFLOW") else ["*"]
