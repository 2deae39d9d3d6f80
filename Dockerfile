# Plimsoll: both processes (controller, admission) and the command line in one image.
#
# Both base images are arguments, to be given by digest (name@sha256:...):
#   BUILD_BASE  Python 3.11 or newer with venv and pip; nothing of it reaches the image
#   BASE        the same Python, without pip, compiler or package manager where possible
#               (for example distroless python3)
#   PYTHON      where the interpreter is in BASE
# The network is needed for the package index alone. Everything from it is locked by hash.
ARG BUILD_BASE
ARG BASE

FROM ${BASE} AS base

FROM ${BUILD_BASE} AS build
ARG SOURCE_DATE_EPOCH=0
ARG PYTHON=/usr/bin/python3
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.lock requirements/operator.lock requirements/
RUN python3 -m venv /build \
 && /build/bin/pip install --quiet --require-hashes --only-binary :all: -r requirements/build.lock \
 && /build/bin/pip install --quiet --require-hashes --only-binary :all: --no-compile \
      --target /opt/plimsoll/site -r requirements/operator.lock
COPY pyproject.toml README.md LICENSE ./
COPY estimator estimator
COPY operator operator
COPY deploy/image/sbom.py deploy/image/sbom.py
COPY --from=base /var/lib/dpkg /base/dpkg
# Compiled by hash and not by date: the same tree gives the same files. Of the Kubernetes client,
# which is generated and by far the largest, only the compiled files stay, without docstrings.
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && rm -rf /opt/plimsoll/site/bin \
 && /build/bin/pip install --quiet --no-deps --no-compile --target /opt/plimsoll/site dist/*.whl \
 && rm -rf /opt/plimsoll/site/bin \
 && find /opt/plimsoll/site -name tests -type d -prune -exec rm -rf {} + \
 && python3 -OO -m compileall -q -b -j 0 --invalidation-mode unchecked-hash -s /opt/plimsoll/site -p /opt/plimsoll/site /opt/plimsoll/site/kubernetes \
 && find /opt/plimsoll/site/kubernetes -name '*.py' -delete \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /opt/plimsoll/site -p /opt/plimsoll/site /opt/plimsoll/site \
 && version=$(PYTHONPATH=/opt/plimsoll/site python3 -c 'import plimsoll; print(plimsoll.__version__)') \
 && mkdir -p /opt/plimsoll/bin \
 && printf '#!%s -P\nfrom plimsoll.cli import main\n\nmain()\n' "$PYTHON" > /opt/plimsoll/bin/plimsoll \
 && printf '#!%s -P\nfrom plimsoll_operator.__main__ import main\n\nmain()\n' "$PYTHON" > /opt/plimsoll/bin/plimsoll-operator \
 && chmod 755 /opt/plimsoll/bin/* \
 && /build/bin/python deploy/image/sbom.py --site /opt/plimsoll/site --dpkg /base/dpkg \
      --version "$version" > /opt/plimsoll/sbom.spdx.json

FROM base
LABEL org.opencontainers.image.title="Plimsoll" \
      org.opencontainers.image.description="The load line for GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/plimsoll /opt/plimsoll
ENV HOME=/ \
    PATH=/opt/plimsoll/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/plimsoll/site \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532
ENTRYPOINT ["plimsoll-operator"]
