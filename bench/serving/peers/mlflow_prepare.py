"""Save a model as `mlflow models serve` wants it: `mlflow_prepare.py MODEL FOLDER`."""

import shutil
import sys

import mlflow.sklearn
import mlflow.xgboost
import models_of

name, folder = sys.argv[1:]
shutil.rmtree(folder, ignore_errors=True)
if name == "xgb":
    mlflow.xgboost.save_model(models_of.load(name), folder, pip_requirements=[])
else:
    mlflow.sklearn.save_model(models_of.load(name), folder, pip_requirements=[], serialization_format="cloudpickle")
