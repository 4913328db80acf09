# One file, three images:  docker build --target service . | --target worker . | --target worker-cuda .
# Each installs the versions of constraints.txt in a stage of its own and takes only the outcome along. Torch comes first,
# then what pyproject.toml names, by the hashes of hashes/, then our own code: an edit of the code installs nothing again. What is copied is what
# .dockerignore lets through.
#
# The base image has no digest here, because that of a tag that moves was known from no registry when this was written:
# `docker buildx imagetools inspect python:3.11-slim` tells it. Torch has no hash: each of its indexes has other builds.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/pathpatch
ENV PATH=/opt/pathpatch/bin:$PATH
WORKDIR /build

# Empty packages in place of ours, so that pip installs all that they need.
FROM build AS dependencies
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hashes ./hashes
RUN mkdir -p pathpatch && touch pathpatch/__init__.py

FROM dependencies AS build-service
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes --no-deps -r hashes/service.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[service,tracing]'
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --force-reinstall .

# TORCH_INDEX: PyTorch's index of CPU builds, which makes the image several GB smaller
FROM build AS build-worker
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip pip install torch==2.13.0 ${TORCH_INDEX:+--index-url ${TORCH_INDEX}}
COPY --from=dependencies /build ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes --no-deps -r hashes/worker.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[worker,tracing]'
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --force-reinstall .

FROM build AS build-worker-cuda
RUN --mount=type=cache,target=/root/.cache/pip pip install torch==2.13.0
COPY --from=dependencies /build ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes --no-deps -r hashes/worker.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[worker,tracing]'
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --force-reinstall .

FROM python:3.11-slim AS runtime
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin pathpatch \
 && install -d -o 10001 -g 10001 /data /hub /models /spool /fonts /blobs
ENV PATH=/opt/pathpatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HOME=/hub MPLCONFIGDIR=/tmp
WORKDIR /
USER 10001:10001

# Matplotlib's list of fonts is made here, or the first figure would wait seconds for it; /tmp begins empty.
FROM runtime AS service
COPY --from=build-service /opt/pathpatch /opt/pathpatch
ENV PATHPATCH_HOST=0.0.0.0 PATHPATCH_PORT=8000 TMPDIR=/spool
USER 10001:10001
RUN MPLCONFIGDIR=/fonts python -c "import matplotlib.font_manager"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["sh", "-c", "cp /fonts/*.json /tmp; exec python -m service"]

# Alive is whoever touches its file, also while the broker is away: a restart would not bring that back.
FROM runtime AS worker
COPY --from=build-worker /opt/pathpatch /opt/pathpatch
ENV PATHPATCH_DATA_DIR=/data PATHPATCH_HEALTH_FILE=/tmp/alive PATHPATCH_DEVICE=cpu
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["sh", "-c", "test -n \"$(find /tmp/alive -mmin -1)\""]
CMD ["python", "-m", "worker"]

# CUDA's libraries come with torch; the driver comes from the host, by NVIDIA's container toolkit.
FROM runtime AS worker-cuda
COPY --from=build-worker-cuda /opt/pathpatch /opt/pathpatch
ENV PATHPATCH_DATA_DIR=/data PATHPATCH_HEALTH_FILE=/tmp/alive PATHPATCH_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["sh", "-c", "test -n \"$(find /tmp/alive -mmin -1)\""]
CMD ["python", "-m", "worker"]
