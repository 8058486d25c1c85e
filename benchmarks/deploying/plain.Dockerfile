# What a good developer writes first: the pipeline behind FastAPI. Bytecode and stages as in the image it is beside.
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS build
LABEL opslab.image.build=by-hand
WORKDIR /context
COPY requirements.txt wheels/* ./
RUN PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl) \
    python3 -m pip --disable-pip-version-check install --quiet --no-cache-dir --no-compile \
      --require-hashes --requirement requirements.txt --no-index --find-links . --target /packages/opt/plain
COPY app.py /packages/opt/plain/
RUN python3 -m compileall -q -s /packages -p / --invalidation-mode unchecked-hash /packages

FROM ${BASE_IMAGE}
LABEL opslab.image.build=by-hand
COPY --from=build /packages/ /
ENV PYTHONPATH=/opt/plain PYTHONDONTWRITEBYTECODE=1 PIPELINE=/artifact/pipeline.pickle
USER 10001:10001
CMD ["python3", "-m", "uvicorn", "app:app", "--host", "0.0.0.0", "--port", "8080"]
LABEL opslab.image.build=finished
