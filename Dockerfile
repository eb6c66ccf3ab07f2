ARG TARGET=cpu

FROM python:3.12-slim AS base-cpu
ENV TORCH_INDEX=https://download.pytorch.org/whl/cpu

# The wheels bring CUDA's libraries; the host brings the driver: docker run --gpus all.
FROM python:3.12-slim AS base-gpu
ENV TORCH_INDEX=https://download.pytorch.org/whl/cu128

FROM base-${TARGET}
ENV PYTHONUNBUFFERED=1
ENV PIP_NO_CACHE_DIR=1
ENV HF_HOME=/models
ENV GRADIO_SERVER_NAME=0.0.0.0
ENV GRADIO_SERVER_PORT=7860
ENV GRADIO_ANALYTICS_ENABLED=False
WORKDIR /app
COPY requirements.txt ./
# sam2 builds from source; its CUDA extension is not used.
RUN SAM2_BUILD_CUDA=0 pip install --extra-index-url "$TORCH_INDEX" -r requirements.txt
COPY app.py ./
COPY evfsam/ evfsam/
COPY baselines/ baselines/
COPY workbench/ workbench/
COPY webui/ webui/
COPY checkpoints/ checkpoints/
COPY examples/ examples/
RUN useradd --create-home --uid 1000 visitor && mkdir -p /models && chown visitor /models
USER visitor
VOLUME /models
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/', timeout=8)"]
ENTRYPOINT ["python", "app.py"]
CMD ["--suite", "auto"]
