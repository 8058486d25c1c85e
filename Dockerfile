# The lab image: JupyterLab with the course, as a user who is not root.
#   docker build -t opslab .            docker run --rm -p 127.0.0.1:8888:8888 opslab
#   docker run --rm opslab make course  runs the series headlessly
# Where no registry is reached, any Debian with Python >= 3.11 and venv does: --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

RUN (command -v make && command -v git && command -v python3) >/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends make git python3 python3-venv \
     && rm -rf /var/lib/apt/lists/*)

RUN useradd --create-home --uid 1000 reader
WORKDIR /home/reader/opslab
RUN chown reader:reader /home/reader/opslab
USER reader
ENV MLFLOW_DISABLE_TELEMETRY=true \
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
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "notebooks/00_start_here.ipynb"]
