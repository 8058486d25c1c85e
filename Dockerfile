# The lab image: JupyterLab with the course, as a user who is not root.
#   docker build -t opslab .            docker run --rm -p 127.0.0.1:8888:8888 opslab
#   docker run --rm opslab make course  runs the series headlessly
# Where no registry is reached, any Debian with Python >= 3.11 does (opslab image base makes one):
#   docker build -t opslab --build-arg BASE_IMAGE=opslab-base:bookworm .
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

# what the base lacks, and nothing that it has: python:3.11-slim has a Python of its own
RUN missing=$(for tool in make git; do command -v $tool >/dev/null || echo $tool; done) \
 && if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing="$missing python3 python3-venv"; fi \
 && if [ -n "$missing" ]; then \
      apt-get update && apt-get install -y --no-install-recommends $missing && rm -rf /var/lib/apt/lists/*; \
    fi

RUN useradd --create-home --uid 1000 reader
WORKDIR /home/reader/opslab
RUN chown reader:reader /home/reader/opslab
USER reader
ENV MLFLOW_DISABLE_TELEMETRY=true \
    JUPYTER_CONFIG_PATH=/home/reader/opslab/binder/jupyter \
    PATH=/home/reader/opslab/.venv/bin:$PATH

# the packages first: they change less often than the course
COPY --chown=reader:reader requirements.lock pyproject.toml README.md LICENSE Makefile ./
COPY --chown=reader:reader .ci/setup.py .ci/setup.py
COPY --chown=reader:reader mlops_helpers/__init__.py mlops_helpers/__init__.py
RUN make setup && rm -rf /home/reader/.cache

COPY --chown=reader:reader . .
# copied files may look newer than the environment that was made from them
RUN touch .venv/.ready

EXPOSE 8888
HEALTHCHECK --interval=10s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8888/api', timeout=3)"]
# the token is on: the address that it prints carries it
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
