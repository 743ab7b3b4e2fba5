# Every target sets up what it needs: Python 3.11 or newer, pip and make are enough.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
TORCH := torch==2.14.1 torchvision==0.29.1

.PHONY: install demo test check docs model

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "synthorax needs Python 3.11 or newer; name one: make install PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

demo: install
	$(BIN)/synthorax demo --out runs/demo

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/house/test_imports.py

docs: install
	$(BIN)/python docs/build.py

# The embedded model from nothing: hours on a few cores; each command goes on where it was stopped.
MODEL := runs/model
FILMS := --films $(MODEL)/patients/studies.parquet
model: install
	$(BIN)/synthorax phantom sample --n 6000 --seed 1 --size 256 --pairs allowed --out $(MODEL)/patients
	$(BIN)/synthorax train autoencoder embedded-autoencoder $(FILMS) --out $(MODEL)/autoencoder
	$(BIN)/synthorax train diffusion embedded-diffusion $(FILMS) --vae $(MODEL)/autoencoder/vae --out $(MODEL)/diffusion
	$(BIN)/synthorax models export $(MODEL)/diffusion/pipeline --out src/synthorax/diffusion/embedded
