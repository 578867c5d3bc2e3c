"""Packaging. ``pip install "paddleslim-bilstm[cpu]"`` brings all but PaddleNLP; the bounds are why that works."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "([^"]+)"', (HERE / "paddleslim_bilstm" / "__init__.py").read_text("utf-8"),
                    re.MULTILINE).group(1)

# What all rooms but Paddle's need; with onnxruntime it is enough to predict.
BASE = ["numpy>=1.21", "pyyaml", "safetensors", "tokenizers>=0.13.3", "tqdm"]

PREDICT = ["onnxruntime>=1.16"]

# Everything that compressing needs beside Paddle itself, of which users bring their own build.
COMPRESS = PREDICT + [
    "paddleslim==2.6.0",
    "numpy<2; python_version < '3.13'",     # paddleslim pins an opencv-python that was built for NumPy 1
    "scipy<1.17; python_version < '3.12'",  # later ones need zlib to load, which Paddle 2.6 breaks
    "setuptools<81",                        # paddleslim imports pkg_resources, which later versions dropped
    "decorator", "pip", "requests", "six",  # paddleslim imports them without naming them
    "pydantic>=2.7",                        # describes keys by the text under them
    "filelock", "jieba", "jinja2", "matplotlib", "onnx>=1.14", "textblob",
]

# Its data sets, models and vectors by name, its Trainer, and families of teachers that we don't have.
PADDLENLP = [f"{package}; python_version < '3.13'" for package in (
    "paddlenlp==2.8.1",
    "huggingface_hub<0.26",    # paddlenlp imports names that later versions dropped
    "aistudio_sdk<0.3",        # likewise
    "pyarrow>=21,<24",         # 24 needs NumPy 2; datasets, which paddlenlp imports, needs 21
)]
# Later ones need zlib to load, as those of scipy.
PADDLENLP += [f"{package}; python_version < '3.12'" for package in ("aiohttp<3.14", "pyarrow<23", "scikit-learn<1.8")]

# The whole test suite runs on 2.6.2 and Python 3.11; docs/versions.md has what was tried beside that.
PADDLE = ["{name}==2.6.2; python_version < '3.12'", "{name}>=3.3.1,<3.4; python_version >= '3.12'"]

setup(
    name="paddleslim-bilstm",
    version=VERSION,
    description="Distil a fine-tuned BERT into a fast Bi-LSTM, as a strategy of PaddleSlim",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="knowledge-distillation bert bilstm text-classification quantization onnx paddlepaddle paddleslim",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["paddleslim_bilstm", "paddleslim_bilstm.*"]),
    package_data={"paddleslim_bilstm": ["py.typed"], "paddleslim_bilstm.quickstart": ["quickstart.yaml"],
                  "paddleslim_bilstm.report": ["page.html"]},
    python_requires=">=3.9",
    install_requires=BASE,
    extras_require={
        "predict": PREDICT,
        "compress": COMPRESS,
        "cpu": COMPRESS + [package.format(name="paddlepaddle") for package in PADDLE],
        "gpu": COMPRESS + ["paddlepaddle-gpu==2.6.2"],  # the last in PyPI: Paddle 3's come from Paddle's own index
        "paddlenlp": PADDLENLP,
        "test": PADDLENLP + ["hypothesis", "pytest", "pytest-xdist", "ruff", "sentencepiece"],
    },
    entry_points={"console_scripts": ["paddleslim-bilstm = paddleslim_bilstm.cli:main"]},
)
