# synthorax with its extras, without data and without weights. Research only, not for diagnosis.
#
#   docker build -t synthorax .
#   docker run --rm synthorax doctor
#   docker run --rm --gpus all -v /data:/data -v "$PWD/runs:/work/runs" synthorax run --studies /data/nih --format nih --out runs/mine --device cuda
#   docker build --target test -t synthorax-test . && docker run --rm synthorax-test
#
# Runs as uid 10001: folders that it shall write to must let it, or add --user "$(id -u):$(id -g)".

FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HOME=/home/synthorax
# The pair that was tested, as in the Makefile; a layer of its own, since it is the largest and changes least.
RUN pip install torch==2.14.1 torchvision==0.29.1
RUN useradd --uid 10001 --create-home --home-dir /home/synthorax synthorax \
    && mkdir /work && chown synthorax /work && chmod a+rwX /home/synthorax
WORKDIR /opt/synthorax
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
RUN pip install ".[workbench,ray,hf,xrv,ct,lora,chexgen,tensorboard,onnx,segment]"

# The tests alone need a browser, make and git.
FROM base AS test
RUN apt-get update && apt-get install --yes --no-install-recommends chromium git make \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN pip install -e ".[dev]" && chown -R synthorax /opt/synthorax
ENV SYNTHORAX_CHROMIUM=/usr/bin/chromium
USER synthorax
ENTRYPOINT ["python", "-m", "pytest"]

FROM base AS run
USER synthorax
WORKDIR /work
ENTRYPOINT ["synthorax"]
CMD ["--help"]
