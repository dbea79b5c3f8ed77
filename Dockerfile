# syntax=docker/dockerfile:1
# One target per program:
#   docker buildx build --platform linux/amd64,linux/arm64 --target ebbtide-broker .
# The compiler runs on the builder's own platform and cross-compiles.

ARG GO_VERSION=1.26

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .

# What each program is made of, as CycloneDX, read from the program itself.
FROM source AS supply
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/ebbtide-supply ./e2e/cmd/ebbtide-supply

FROM source AS build-broker
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/ebbtide-broker ./broker/cmd/ebbtide-broker
RUN --mount=type=bind,from=supply,source=/out,target=/supply /supply/ebbtide-supply describe /out/ebbtide-broker

FROM source AS build-scheduler
ARG TARGETOS
ARG TARGETARCH
# The version that the scheduler reports, and names itself by to the API server,
# is that of the Kubernetes it is made of.
ARG KUBERNETES_VERSION=v1.36.3
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=${KUBERNETES_VERSION} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/client-go/pkg/version.gitVersion=${KUBERNETES_VERSION}" \
    -o /out/ebbtide-scheduler ./scheduler-plugin/cmd/ebbtide-scheduler
RUN --mount=type=bind,from=supply,source=/out,target=/supply /supply/ebbtide-supply describe /out/ebbtide-scheduler

FROM source AS build-kubectl
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/kubectl-ebbtide ./broker/cmd/kubectl-ebbtide
RUN --mount=type=bind,from=supply,source=/out,target=/supply /supply/ebbtide-supply describe /out/kubectl-ebbtide

# The agent loads the driver's library, which takes cgo: a compiler for the target, and a
# C library that is no newer than the one it runs with.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build-agent
ARG BUILDARCH
ARG TARGETOS
ARG TARGETARCH
RUN if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
      apt-get update && apt-get install -y --no-install-recommends crossbuild-essential-$TARGETARCH && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /src
COPY --from=source /src .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
      case "$TARGETARCH" in amd64) export CC=x86_64-linux-gnu-gcc ;; arm64) export CC=aarch64-linux-gnu-gcc ;; *) echo "no C compiler is known for $TARGETARCH"; exit 1 ;; esac; \
    fi; \
    CGO_ENABLED=1 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/ebbtide-agent ./mig/cmd/ebbtide-agent
RUN --mount=type=bind,from=supply,source=/out,target=/supply /supply/ebbtide-supply describe /out/ebbtide-agent

FROM gcr.io/distroless/static:nonroot AS runtime
ARG VERSION=unknown
LABEL org.opencontainers.image.source="https://github.com/ebbtide/ebbtide" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY LICENSE /LICENSE
USER 65532:65532

FROM runtime AS ebbtide-broker
COPY --from=build-broker /out/ebbtide-broker /ebbtide-broker
COPY --from=build-broker /out/ebbtide-broker.cdx.json /sbom/
ENTRYPOINT ["/ebbtide-broker"]

FROM runtime AS ebbtide-scheduler
COPY --from=build-scheduler /out/ebbtide-scheduler /ebbtide-scheduler
COPY --from=build-scheduler /out/ebbtide-scheduler.cdx.json /sbom/
ENTRYPOINT ["/ebbtide-scheduler"]

FROM runtime AS kubectl-ebbtide
COPY --from=build-kubectl /out/kubectl-ebbtide /kubectl-ebbtide
COPY --from=build-kubectl /out/kubectl-ebbtide.cdx.json /sbom/
ENTRYPOINT ["/kubectl-ebbtide"]

# It cuts GPUs, which takes root.
FROM gcr.io/distroless/base-debian12 AS ebbtide-agent
ARG VERSION=unknown
LABEL org.opencontainers.image.source="https://github.com/ebbtide/ebbtide" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY LICENSE /LICENSE
COPY --from=build-agent /out/ebbtide-agent /ebbtide-agent
COPY --from=build-agent /out/ebbtide-agent.cdx.json /sbom/
USER 0:0
ENTRYPOINT ["/ebbtide-agent"]
