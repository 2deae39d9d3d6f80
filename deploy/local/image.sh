#!/usr/bin/env bash
# Build the image with docker, podman or buildah, whichever is here. Variables: IMAGE is its name, ENGINE one
# of the three to take, BASE and BUILD_BASE what it stands on (a release takes these by digest).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=${IMAGE:-localhost/plimsoll:local}
base=${BASE:-gcr.io/distroless/python3-debian12:nonroot}
build_base=${BUILD_BASE:-docker.io/library/python:3.11-slim-bookworm}

engine=""
for name in ${ENGINE:-docker podman buildah}; do
  command -v "$name" > /dev/null || continue
  if [ "$name" = docker ] && ! docker info > /dev/null 2>&1; then
    echo "docker is here, but its daemon does not answer" >&2
    continue
  fi
  engine=$name
  break
done
if [ -z "$engine" ]; then
  echo "nothing here builds images: install docker, podman or buildah, or name one with ENGINE=" >&2
  exit 1
fi

format=()
if [ "$engine" != docker ]; then format=(--format docker); fi
"$engine" build ${format[@]+"${format[@]}"} --build-arg "BASE=$base" --build-arg "BUILD_BASE=$build_base" \
  --tag "$image" . >&2
if [ -n "${ARCHIVE:-}" ]; then
  rm -f "$ARCHIVE"
  case $engine in
    docker) docker save --output "$ARCHIVE" "$image" ;;
    podman) podman save --quiet --format docker-archive --output "$ARCHIVE" "$image" ;;
    buildah) buildah push --quiet "$image" "docker-archive:$ARCHIVE:$image" ;;
  esac
fi
echo "$image, built with $engine"
