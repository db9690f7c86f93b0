# The image holds the program and the libraries it is linked with, nothing to build with. To try it:
#   docker build -t twinpool . && docker run --rm -p 8080:8080 --read-only --cap-drop ALL twinpool
# Options are given as flags behind the image's name or as TWINPOOL_… variables; the health check sees only the variables.

FROM debian:trixie-slim AS build
WORKDIR /src
COPY scripts/packages scripts/ensure-packages scripts/
RUN scripts/ensure-packages build
COPY . .
RUN make install SETUP=no DESTDIR=/out PREFIX=/usr/local \
    && strip /out/usr/local/bin/twinpool \
    && scripts/runtime-packages /out/usr/local/bin/twinpool >/out/runtime-packages

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="twinpool" \
      org.opencontainers.image.description="Two pools over HTTP: threads that fetch URLs, and processes that compute"
RUN --mount=type=bind,from=build,source=/out/runtime-packages,target=/mnt/runtime-packages \
    apt-get update \
    && xargs apt-get install -y --no-install-recommends ca-certificates </mnt/runtime-packages \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=build /out/usr/local /usr/local
# A number, so that an orchestrator can tell without /etc/passwd that it is not root.
USER 65532:65532
ENV TWINPOOL_LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/twinpool", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/twinpool"]
