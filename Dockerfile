# An image with winbox and the Wine of Debian 12. Its entry point is `winbox launch`:
#
#   docker build -t winbox .
#   docker run --rm --privileged -v winbox:/var/lib/winbox -v "$PWD:/work" winbox ./app.exe arguments
#
# Why --privileged: winbox makes namespaces, mounts and cgroups of its own. Why a volume: the prefix template is made at
# the first start, which needs such a sandbox too and is therefore not possible while the image is built; the volume
# keeps it for the next start, and an overlay, which each program gets, cannot lie on the engine's own overlay.
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
RUN CGO_ENABLED=0 go build -trimpath -tags=urfave_cli_no_docs \
    -ldflags "-s -w -X main.version=${VERSION}" -o /winbox ./cmd/winbox

# Wine without what nobody reads at run time: symbols are three quarters of its DLLs. strip keeps the signature in the
# DOS stub by which Wine knows its own files. Documents and translations go too, but for the licences.
FROM ${DEBIAN} AS wine
RUN set -e; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates wine64; \
    installed=$(dpkg-query -W -f '${Package}\n' | sort); \
    apt-get install -y --no-install-recommends binutils-mingw-w64-x86-64; \
    find /usr/lib/x86_64-linux-gnu/wine/x86_64-windows -type f -exec x86_64-w64-mingw32-strip --strip-unneeded {} +; \
    apt-get purge -y --autoremove binutils-mingw-w64-x86-64; \
    [ "$(dpkg-query -W -f '${Package}\n' | sort)" = "$installed" ]; \
    find /usr/share/doc -type f ! -name copyright -delete; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/man/* /usr/share/locale/*

FROM wine
COPY --from=build /winbox /usr/bin/winbox
COPY LICENSE /usr/share/doc/winbox/copyright
VOLUME /var/lib/winbox
WORKDIR /work
ENTRYPOINT ["winbox", "launch"]
CMD ["cmd", "/c", "ver"]
