"""Saves SavedModels into the folder that is given. Run by the Python that has TensorFlow."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf


class Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable([[1.0], [2.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def linear(self, x):
        return {"sum": x @ self.weights, "first": x[:, 0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.int64, name="key"),
        ]
    )
    def keyed(self, image_bytes, key):
        return {"key": key, "image_bytes": image_bytes, "text": tf.strings.as_string(key)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="x"),
            tf.TensorSpec([None], tf.float32, name="z"),
            tf.TensorSpec([None], tf.string, name="name"),
        ]
    )
    def squares(self, x, z, name):
        return {"y": tf.reduce_sum(x * x, 1) + x[:, 0] * z}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="record")])
    def measured(self, record):
        return {"size": tf.strings.length(record), "record_bytes": record}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def failing(self, x):
        with tf.control_dependencies([tf.debugging.assert_less(x, 10.0, message="too large")]):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def uneven(self, x):
        return {"y": x, "z": tf.concat([x, x], 0)}


model = Model()
several = {name: getattr(model, name) for name in ("keyed", "failing", "uneven")}
tf.saved_model.save(model, os.path.join(sys.argv[1], "one"), signatures={"only": model.linear})
tf.saved_model.save(model, os.path.join(sys.argv[1], "many"), signatures={"serving_default": model.linear, **several})
tf.saved_model.save(model, os.path.join(sys.argv[1], "squares"), signatures={"squares": model.squares})
tf.saved_model.save(model, os.path.join(sys.argv[1], "records"), signatures={"measured": model.measured})
with tf.io.TFRecordWriter(os.path.join(sys.argv[1], "two.tfrecord")) as writer:
    writer.write(b"one")
    writer.write(b"\xff\x00")
keras = tf.keras.Sequential([tf.keras.layers.Input((3,)), tf.keras.layers.Dense(2, activation="softmax", name="out")])
keras.export(os.path.join(sys.argv[1], "keras"))
