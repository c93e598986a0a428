"""Trains a classifier on census data and stores it in --job-dir. Runs the same on a desk and as a job."""

import argparse
import csv
import io
import os

import joblib
from google.cloud import storage
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import cross_val_score


def read(path):
    if not path.startswith("gs://"):
        with open(path) as file:
            return file.read()
    bucket, _, name = path[len("gs://") :].partition("/")
    return storage.Client().bucket(bucket).blob(name).download_as_bytes().decode()


def write(path, data):
    if not path.startswith("gs://"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return
    bucket, _, name = path[len("gs://") :].partition("/")
    storage.Client().bucket(bucket).blob(name).upload_from_string(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", required=True, help="where the model goes")
    parser.add_argument("--train-file", required=True, help="CSV with a header; the last column is the label")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--max-depth", type=int, default=3)
    arguments = parser.parse_args()

    rows = list(csv.reader(io.StringIO(read(arguments.train_file))))[1:]
    features = [[float(value) for value in row[:-1]] for row in rows]
    labels = [row[-1] for row in rows]
    model = GradientBoostingClassifier(
        n_estimators=20, learning_rate=arguments.learning_rate, max_depth=arguments.max_depth, random_state=0
    )
    accuracy = cross_val_score(model, features, labels, cv=3).mean()
    print(f"learning rate {arguments.learning_rate:g}, depth {arguments.max_depth}: accuracy {accuracy:.4f}")
    if "CLOUD_ML_TRIAL_ID" in os.environ:
        report(accuracy)

    buffer = io.BytesIO()
    joblib.dump(model.fit(features, labels), buffer)
    write(os.path.join(arguments.job_dir, "model.joblib"), buffer.getvalue())


def report(accuracy):
    """For tuning: what is to be maximized."""
    import hypertune

    hypertune.HyperTune().report_hyperparameter_tuning_metric(
        hyperparameter_metric_tag="accuracy", metric_value=accuracy, global_step=1
    )


if __name__ == "__main__":
    main()
