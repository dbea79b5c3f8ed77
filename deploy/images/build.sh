#!/usr/bin/env bash
# Builds Ebbtide's images with whichever of docker, podman and buildah works here:
#
#   build.sh REPOSITORY VERSION IMAGE...
#
# CONTAINER names one of the three. PLATFORMS=linux/amd64,linux/arm64 builds for these, and
# PUSH=1 pushes what was built to REPOSITORY/IMAGE:VERSION. It is run in the repository's root.
set -euo pipefail

# missing says why a tool cannot be used, or nothing.
missing() {
  if ! command -v "$1" >/dev/null; then
    echo "$1 is not installed"
  elif [[ $1 == docker ]] && ! docker info >/dev/null 2>&1; then
    echo "docker is installed, but its daemon does not answer"
  elif [[ $1 == docker && -n ${PUSH:-} ]] && ! docker buildx version >/dev/null 2>&1; then
    echo "docker is installed, but not its buildx, which PUSH=1 needs"
  fi
}

case ${CONTAINER:-} in
  '') tools=(docker podman buildah) ;;
  docker | podman | buildah) tools=("$CONTAINER") ;;
  *) echo "make image: CONTAINER is $CONTAINER, must be docker, podman or buildah" >&2; exit 1 ;;
esac
tool='' reasons=''
for candidate in "${tools[@]}"; do
  why=$(missing "$candidate")
  if [[ -z $why ]]; then
    tool=$candidate
    break
  fi
  reasons+="${reasons:+; }$why"
done
if [[ -z $tool ]]; then
  echo "make image needs ${tools[1]:+one of }${tools[*]}: $reasons. Nothing was built." >&2
  exit 1
fi

repository=$1 version=$2
shift 2
for name in "$@"; do
  image=$repository/$name:$version
  args=(--target "$name" --build-arg "VERSION=$version" ${PLATFORMS:+--platform "$PLATFORMS"})
  echo "make image: $tool builds $image" >&2
  case $tool${PUSH:+-push} in
    docker) DOCKER_BUILDKIT=1 docker build "${args[@]}" -t "$image" . ;;
    docker-push) docker buildx build --push "${args[@]}" -t "$image" . ;;
    podman | buildah) "$tool" build "${args[@]}" -t "$image" . ;;
    *-push)
      "$tool" build "${args[@]}" --manifest "$image" .
      "$tool" manifest push --all "$image" "docker://$image"
      ;;
  esac
done
