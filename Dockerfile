# An image with Wine and winbox, to build images of Windows programs on that run on nodes without winbox, under any container
# runtime (docs/images.md). It is what `winbox image pack --with-runtime` makes, of the Wine of Debian 12:
#
#   docker build -t winbox .
#   docker run --rm -v "$PWD:/work" winbox ./app.exe arguments
#
# and for an application, in a Dockerfile of its own:
#
#   FROM winbox
#   COPY app/ /app/
#   ENTRYPOINT ["winbox", "init", "/app/app.exe"]
#
# The base images can be named otherwise (--build-arg DEBIAN=…), for example when there is no registry.
ARG GO=golang:1.26-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${GO} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -tags=urfave_cli_no_docs -ldflags "-s -w -X main.version=${VERSION}" \
    -o /usr/local/bin/ ./cmd/winbox ./cmd/winbox-images

FROM ${DEBIAN} AS wine
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata fonts-liberation wine64

# Of Wine and what it needs, without symbols; no container can be made in a step of a build.
FROM wine AS image
COPY --from=build /usr/local/bin/winbox /usr/local/bin/winbox-images /usr/local/bin/
RUN ["/usr/local/bin/winbox", "runtime", "build", "wine", "--wow64", "none", "--from", "/", "--no-sandbox"]
RUN ["/usr/local/bin/winbox", "image", "pack", "--with-runtime", "--compression", "zstd", "-t", "wine"]
RUN ["/usr/local/bin/winbox", "image", "unpack", "wine", "/bundle"]

FROM scratch
COPY --from=image /bundle/rootfs /
COPY LICENSE /usr/share/doc/winbox/copyright
WORKDIR /work
ENTRYPOINT ["winbox", "init"]
CMD ["cmd", "/c", "ver"]
