# The image of filter, gateway and blog: Python, a few packages pinned by hash, the serving part of mlops_helpers, and
# nothing else. deploy/images.py makes the context: requirements.txt, wheels/, mlops_helpers/, healthcheck.py.
#
# The same files give the same layers, bit for bit: times are fixed, and bytecode depends on nothing but its source.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
LABEL opslab.image.build=by-hand
WORKDIR /context

# pip stays in this stage (Debian has it as a wheel). It takes the wheels of the context and needs no network.
COPY requirements.txt wheels/* ./
RUN PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl) \
    python3 -m pip --disable-pip-version-check install --quiet --no-cache-dir --no-compile \
      --require-hashes --requirement requirements.txt --no-index --find-links . --target /packages/opt/opslab \
 && rm -rf /packages/opt/opslab/bin

COPY mlops_helpers/ /application/opt/opslab/mlops_helpers/
COPY healthcheck.py /application/opt/opslab/
RUN mkdir --mode=1777 /application/data \
 && for layer in /packages /application; do \
      PYTHONHASHSEED=0 python3 -m compileall -q -s $layer -p / --invalidation-mode unchecked-hash $layer || exit 1; \
    done \
 && find /packages /application -exec touch --no-dereference --date=@0 {} +


FROM ${BASE_IMAGE}
LABEL opslab.image.build=by-hand

# two layers: packages change with the lock, the application with every commit
COPY --from=build /packages/ /
COPY --from=build /application/ /

ENV PYTHONPATH=/opt/opslab PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OPSLAB_WORKSPACE=/data
# a number, so that a platform which refuses root sees that this is not root; it may be any other: it owns nothing
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=1s --timeout=2s --start-period=10s --retries=2 \
  CMD ["python3", "-I", "-S", "/opt/opslab/healthcheck.py"]
ENTRYPOINT ["python3", "-P", "-m", "mlops_helpers.cli"]
CMD ["serve", "/artifact", "--host", "0.0.0.0", "--port", "8080"]

ARG INPUTS
ARG VERSION
ARG REVISION
LABEL opslab.image.build=finished \
      opslab.image.inputs=${INPUTS} \
      org.opencontainers.image.title="opslab service" \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.licenses=MIT
