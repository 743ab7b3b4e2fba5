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
	$(BIN)/pytest -n 2 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/house/test_imports.py

docs: install
	$(BIN)/python docs/build.py

# The embedded model anew: hours on a few cores; each command goes on where it was stopped. NIH= and HANNOVER= name
# folders of real films; without them the model learns virtual patients only. SCALE=tiny walks the same way in a minute or
# two, to a model that has learned nothing and replaces nothing.
SCALE := embedded
MODEL := runs/model-$(SCALE)
PATIENTS := $(if $(filter tiny,$(SCALE)),--n 8 --size 64 --renderings 1,--n 800 --size 256 --renderings 5)
PIPELINE := $(if $(filter tiny,$(SCALE)),$(MODEL)/pipeline,src/synthorax/diffusion/embedded)
FILMS := $(MODEL)/patients/studies.parquet $(if $(NIH),$(MODEL)/nih.parquet) $(if $(HANNOVER),$(MODEL)/hannover.parquet) \
	$(if $(NIH),$(MODEL)/composites/studies.parquet)
model: install
	$(BIN)/synthorax phantom sample --atlas built-in --seed 20260001 --site training --pairs allowed $(PATIENTS) --out $(MODEL)/patients
	$(if $(NIH),$(BIN)/synthorax studies import $(NIH) --format nih --out $(MODEL)/nih.parquet)
	$(if $(HANNOVER),$(BIN)/synthorax studies import $(HANNOVER) --format hannover --out $(MODEL)/hannover.parquet)
	$(if $(NIH),$(BIN)/synthorax phantom composites $(MODEL)/patients --films $(MODEL)/nih.parquet --out $(MODEL)/composites)
	$(BIN)/synthorax train autoencoder $(SCALE)-autoencoder $(FILMS:%=--films %) --out $(MODEL)/autoencoder
	$(BIN)/synthorax train diffusion $(SCALE)-diffusion $(FILMS:%=--films %) --vae $(MODEL)/autoencoder/vae --out $(MODEL)/diffusion
	$(BIN)/synthorax models export $(MODEL)/diffusion --vae $(MODEL)/autoencoder/vae --out $(PIPELINE)
