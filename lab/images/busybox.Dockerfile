FROM scratch AS base
ADD rootfs.tar /

FROM base AS unpacked
RUN --mount=type=bind,source=debs/busybox,target=/debs \
    dpkg-deb --extract /debs/busybox-static_*.deb /deb \
    && mkdir -p /out/bin /out/root \
    && mkdir -m 1777 /out/tmp \
    && cp /deb/bin/busybox /out/bin/ \
    && for applet in $(/out/bin/busybox --list | grep -vx busybox); do ln -s busybox "/out/bin/$applet"; done

FROM scratch
COPY --from=unpacked /out /
CMD ["sh"]
