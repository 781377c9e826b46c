# syntax=docker/dockerfile:1
# hourglass serve on a CPU, with the bundled weights inside:
#   docker build -t hourglass . && docker run --rm -p 127.0.0.1:8000:8000 hourglass

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/hourglass
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/hourglass/bin/python -m pip install --disable-pip-version-check \
    -c constraints.txt ".[serve]"
# An image whose network can't answer is not made.
RUN ["/opt/hourglass/bin/python", "-c", "import numpy; from hourglass import Predictor; Predictor.from_pretrained()(numpy.zeros((64, 64, 3), 'uint8'))"]

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="hourglass" \
      org.opencontainers.image.description="2D human pose estimation with Stacked Hourglass networks over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/hourglass /opt/hourglass
ENV PATH=/opt/hourglass/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# A user without a name, home or rights; the server writes nothing.
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Further options of `hourglass serve`, and weights, go behind the image's name.
ENTRYPOINT ["hourglass", "serve", "--host", "0.0.0.0", "--port", "8000"]
