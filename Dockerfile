# One file, two images: docker build --target service . | docker build --target worker .
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin pathpatch \
 && install -d -o 10001 -g 10001 /data /models
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api_schemas api_schemas
COPY job_store job_store
COPY service service
COPY worker worker
COPY pathpatch pathpatch

FROM base AS service
RUN pip install -c constraints.txt '.[service]' && rm -rf /build
WORKDIR /
USER 10001:10001
ENV PATHPATCH_HOST=0.0.0.0 PATHPATCH_PORT=8000 PATHPATCH_DATA_DIR=/data MPLCONFIGDIR=/tmp HF_HOME=/models
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "service"]

# For a machine without an NVIDIA GPU: --build-arg TORCH_INDEX=(PyTorch's index of CPU builds)
FROM base AS worker
ARG TORCH_INDEX=
RUN pip install torch==2.13.0 ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
 && pip install -c constraints.txt '.[worker]' && rm -rf /build
WORKDIR /
USER 10001:10001
ENV PATHPATCH_DATA_DIR=/data HF_HOME=/models
CMD ["python", "-m", "worker"]
