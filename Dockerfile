# fastpath in a container: for NVIDIA cards by default, for CPUs with --build-arg TORCH=cpu.
#
#   docker build -t fastpath .                            CUDA 12.6: drivers from 525 on, cards from sm_50 to sm_90
#   docker build -t fastpath --build-arg TORCH=cu128 .    newer cards too, such as RTX 50 and B200
#   docker build -t fastpath:cpu --build-arg TORCH=cpu .
#
#   docker run --rm --gpus all -v "$PWD":/work fastpath doctor
#   docker run --rm --gpus all -v "$PWD":/work -u "$(id -u):$(id -g)" fastpath train store -o runs/first --amp
#
# No base image of CUDA: torch's and DALI's wheels bring the libraries, the driver comes from the host with --gpus.
FROM python:3.12-slim

# The last part of https://download.pytorch.org/whl/…
ARG TORCH=cu126

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

# torch in a layer of its own: it is large and changes seldom.
RUN pip install torch torchvision --index-url "https://download.pytorch.org/whl/${TORCH}"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fastpath ./fastpath
# The torch that is there stays: without the constraint pip might take another build for a newer torchvision.
RUN python -c 'import torch; print(f"torch=={torch.__version__}")' > /tmp/keep.txt \
    && pip install --constraint /tmp/keep.txt '.[export,opencv,remote,slide]' \
    && rm -rf /src/* /tmp/keep.txt

# Caches lie where whoever runs the container may write, whatever user that is.
ENV HOME=/tmp/home \
    MPLCONFIGDIR=/tmp/home/matplotlib
RUN mkdir -p /tmp/home && chmod 1777 /tmp/home

WORKDIR /work
ENTRYPOINT ["fastpath"]
CMD ["--help"]
