"""Finds the packages, so that none can be forgotten: every sub-folder with an __init__.py of the folders that
pyproject.toml maps to packages. Everything else about the project stands in pyproject.toml."""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup

pyproject = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
folders: dict[str, str] = pyproject["tool"]["setuptools"]["package-dir"]

setup(packages=[*folders, *(f"{name}.{sub}" for name, path in folders.items() for sub in find_packages(path))])
