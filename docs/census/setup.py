from setuptools import find_packages, setup

REQUIRED_PACKAGES = ["scikit-learn>=0.20", "google-cloud-storage>=1.14", "cloudml-hypertune"]

setup(
    name="census",
    version="0.1",
    packages=find_packages(),
    install_requires=REQUIRED_PACKAGES,
    description="Who earns more than 50,000 a year, by census data",
)
