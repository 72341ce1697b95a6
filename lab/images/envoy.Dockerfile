FROM scratch AS base
ADD rootfs.tar /

FROM base
RUN groupadd --gid 101 envoy \
    && useradd --uid 101 --gid 101 --home-dir /nonexistent --shell /usr/sbin/nologin envoy \
    && mkdir -p /etc/envoy /var/log/envoy \
    && chown envoy:envoy /var/log/envoy
COPY bin/envoy /usr/local/bin/envoy
COPY --chmod=755 <<"EOT" /docker-entrypoint.sh
#!/bin/sh
# Options alone mean Envoy; root becomes the user envoy.
case "${1-}" in -*) set -- envoy "$@" ;; esac
[ "$(id -u)" != 0 ] || [ "${ENVOY_UID-101}" = 0 ] ||
    exec setpriv --reuid=envoy --regid=envoy --init-groups -- "$@"
exec "$@"
EOT
EXPOSE 10000
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
