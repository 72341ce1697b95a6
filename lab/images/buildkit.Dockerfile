# Both images of BuildKit; what is in them follows the Dockerfile in BuildKit's own module.
FROM scratch AS base
ADD rootfs.tar /

# Perl is most of git's size, and git clones without it.
FROM base AS buildkit-base
RUN --mount=type=bind,source=debs/buildkit,target=/debs \
    dpkg --install --force-unsafe-io --force-depends \
        --path-exclude=/usr/share/doc/* --path-exclude=/usr/share/man/* \
        --path-exclude=/usr/share/locale/* /debs/*.deb \
    && ln -s busybox /bin/nc \
    && dpkg --purge --force-depends perl libperl5.36 perl-modules-5.36 \
    && rm -rf /var/log/* /usr/bin/rootlessctl /usr/bin/rootlesskit-docker-proxy
# Of the version that the image is of: `-0.33` for another one than the lab's own.
ARG SUFFIX
COPY bin/buildkitd${SUFFIX} /usr/bin/buildkitd
COPY bin/buildctl${SUFFIX} /usr/bin/buildctl
COPY bin/runc /usr/bin/buildkit-runc
COPY --chmod=755 buildkit/examples/buildctl-daemonless/buildctl-daemonless.sh /usr/bin/

FROM buildkit-base AS buildkit
COPY --chmod=755 buildkit/hack/buildkitd-entrypoint buildkit/hack/with-cgroupfs-remount /usr/bin/
RUN mkdir -p /etc/cdi /var/run/cdi /etc/buildkit/cdi
VOLUME /var/lib/buildkit
ENV BUILDKIT_SETUP_CGROUPV2_ROOT=1
ENTRYPOINT ["/usr/bin/buildkitd-entrypoint"]

# A setuid newuidmap may not write uid_map in a pod; with file capabilities it may.
FROM buildkit-base AS rootless
RUN chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap \
    && setcap cap_setuid+ep /usr/bin/newuidmap \
    && setcap cap_setgid+ep /usr/bin/newgidmap \
    && useradd --uid 1000 --user-group --create-home user \
    && echo user:100000:65536 | tee /etc/subuid > /etc/subgid \
    && mkdir -p /run/user/1000 /home/user/.local/tmp /home/user/.local/share/buildkit \
    && chown -R user:user /run/user/1000 /home/user
USER 1000:1000
ENV HOME=/home/user
ENV USER=user
ENV XDG_RUNTIME_DIR=/run/user/1000
ENV TMPDIR=/home/user/.local/tmp
ENV BUILDKIT_HOST=unix:///run/user/1000/buildkit/buildkitd.sock
VOLUME /home/user/.local/share/buildkit
ENTRYPOINT ["rootlesskit", "buildkitd"]
